"""Where a service may listen before it asks who is there."""

import pytest
from pydantic import ValidationError

from loopwright_common.settings import ServiceSettings


class ProbeSettings(ServiceSettings):
    service = "probe"
    port: int = 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_no_word(host: str) -> None:
    assert ProbeSettings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "scorer", "::ffff:127.0.0.1"])  # noqa: S104
def test_beyond_loopback_a_service_starts_only_when_told_that_it_asks_nobody(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_HOST", host)

    with pytest.raises(ValidationError, match="LOOPWRIGHT_ALLOW_UNAUTHENTICATED=true"):
        ProbeSettings()
    monkeypatch.setenv("LOOPWRIGHT_PROBE_ALLOW_UNAUTHENTICATED", "true")
    assert ProbeSettings().host == host


def test_an_environment_is_named_by_what_is_shown() -> None:
    assert ProbeSettings(environment="Prüfung 2").environment == "Prüfung 2"
    with pytest.raises(ValidationError, match=r"environment 'prod\\u200b' holds U\+200B"):
        ProbeSettings(environment="prod\u200b")

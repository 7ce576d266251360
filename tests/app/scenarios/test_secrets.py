"""Every secret that the settings know of, in what a service that does not start says of it."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from loopwright.reference.settings import SERVICES
from loopwright_common.bus.kafka import Cluster
from loopwright_common.database import Database
from loopwright_common.errors import LoopwrightError
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import main as declare_topics
from loopwright_common.settings import ServiceSettings
from loopwright_common.storage import open_store
from loopwright_scorer.inference.prediction_ids import shared_key
from tests.settings_secrets import is_secret, may_hold_secrets

SECRET = "pA55"


EVERY = [(settings, name) for settings in SERVICES for name in may_hold_secrets(settings)]


def test_every_secret_of_the_settings_is_found() -> None:
    found = {name for _, name in EVERY}

    assert {"database_url", "bus_url", "artifacts_url", "otlp_endpoint", "prediction_key"} <= found


@pytest.mark.parametrize(("settings", "name"), EVERY, ids=lambda of: getattr(of, "service", of))
def test_settings_that_are_refused_repeat_no_secret(
    settings: type[ServiceSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = SECRET if is_secret(settings, name) else f"http://u:{SECRET}@h"
    monkeypatch.setenv(f"LOOPWRIGHT_{settings.service.upper()}_{name.upper()}", secret)
    monkeypatch.setenv("LOOPWRIGHT_HOST", "scorer")

    with pytest.raises(ValidationError) as refused:
        settings()
    assert SECRET not in str(refused.value)


REFUSED: dict[str, Callable[[str], object]] = {
    "bus": open_bus,
    "cluster": Cluster.parse,
    "database": lambda url: Database.open(url, "trainer", Path()),
    "store": open_store,
    "key": shared_key,
}
URLS = [f"amqp://u:{SECRET}@h", f"kafka://u:{SECRET}@h:1", f"//u:{SECRET}@h", SECRET,
        f"postgresql://u:{SECRET}@127.0.0.1:1/x", f"postgresql://u:{SECRET}@h:port/x"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("what", REFUSED)
def test_a_url_that_is_refused_is_not_repeated(what: str, url: str) -> None:
    with pytest.raises(LoopwrightError) as refused:
        _open(REFUSED[what], url)
    assert SECRET not in str(refused.value)


def test_a_bus_without_topics_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_BUS_URL", URLS[0])
    with pytest.raises(SystemExit) as refused:
        declare_topics()
    assert SECRET not in str(refused.value)


def _open(opening: Callable[[str], object], url: str) -> None:
    async def run() -> None:
        opened = opening(url)
        if inspect.isawaitable(opened):
            await opened

    asyncio.run(run())

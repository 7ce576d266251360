"""Whose page may ask, and in whose name."""

import pytest

from loopwright_common.settings import LOOPBACK
from loopwright_common.web.same_origin import foreign, is_served

HOSTS = LOOPBACK | {"loopwright.example"}


def refused(*headers: tuple[str, str]) -> str | None:
    return foreign([(name.encode(), value.encode()) for name, value in headers], HOSTS)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("localhost", "http://localhost"),
        ("LOCALHOST:80", "http://localhost"),
        ("[::1]:8001", "http://[::1]:8001"),
        ("loopwright.example", "https://loopwright.example"),
        ("loopwright.example:8443", "https://loopwright.example:8443"),
    ],
)
def test_our_own_pages_may_ask(host: str, origin: str) -> None:
    assert refused(("host", host)) is None
    assert refused(("host", host), ("origin", origin), ("sec-fetch-site", "same-origin")) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8001", "http://127.0.0.1:3000"),
        ("127.0.0.1:8001", "http://localhost:8001"),
        ("127.0.0.1:8001", "https://127.0.0.1:8001"),
        ("localhost", "https://localhost:80"),
        ("127.0.0.1:8001", "null"),
        ("127.0.0.1:8001", "http://127.0.0.1:8001@evil.example"),
        ("127.0.0.1:8001", "file://127.0.0.1:8001"),
        ("loopwright.example", "https://loopwright.example:8443"),
        ("127.0.0.1:8001", "https://page.example"),
    ],
)
def test_a_page_of_another_scheme_host_or_port_is_refused(host: str, origin: str) -> None:
    assert "Origin" in str(refused(("host", host), ("origin", origin)))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_page_of_another_site_is_refused_that_sends_no_origin(site: str) -> None:
    assert "Sec-Fetch-Site" in str(refused(("host", "localhost"), ("sec-fetch-site", site)))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "localhost"), ("host", "localhost")],
        [("host", "localhost"), ("host", "evil.example")],
    ],
)
def test_a_request_names_one_host(headers: list[tuple[str, str]]) -> None:
    assert refused(*headers) == "send one Host header"


@pytest.mark.parametrize(
    "authority",
    ["evil.example", "evil.example@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1:80:80",
     "127.0.0.1/", "localhost.", "", ":80", "[::1", "127.0.0.1:123456", "local host"],
)  # fmt: skip
def test_an_authority_says_one_of_our_hosts_and_nothing_else(authority: str) -> None:
    assert not is_served(authority, HOSTS)

"""Requests meant for, or sent from, elsewhere are refused: any web page can post to loopback.

A browser names the page in `Origin` and `Sec-Fetch-Site`, and in `Host` whom it believes to ask.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

Header = tuple[bytes, bytes]
_NAMES = frozenset({b"host", b"origin", b"sec-fetch-site"})
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#]+)")
_PORTS = {"http": "80", "https": "443"}
_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|\[::1\]")
_OWN_PAGES = frozenset({"same-origin", "none"})
_SERVED = (
    "no authentication is configured, so only loopback and LOOPWRIGHT_ALLOWED_HOSTS are served"
)


def foreign(headers: Sequence[Header], hosts: frozenset[str]) -> str | None:
    """Why a request is refused as meant for, or sent from, none of `hosts`; None when it is not."""
    return _foreign(tuple([pair for pair in headers if pair[0] in _NAMES]), hosts)


def is_served(authority: str, hosts: Collection[str]) -> bool:
    """Whether an authority (`host` or `host:port`) names one of `hosts`, and says nothing else."""
    found = _AUTHORITY.fullmatch(authority.lower())
    return found is not None and found[1].strip("[]") in hosts


@lru_cache(1024)
def _foreign(headers: tuple[Header, ...], hosts: frozenset[str]) -> str | None:
    given: dict[bytes, list[str]] = {name: [] for name in _NAMES}
    for name, value in headers:
        given[name].append(value.decode("latin-1").lower())
    if len(given[b"host"]) != 1:
        return "send one Host header"
    (host,) = given[b"host"]
    if not is_served(host, hosts):
        return f"Host is not this machine; {_SERVED}"
    if not all(_is_same(origin, host) for origin in given[b"origin"]):
        return f"Origin is another site than {host}: scheme, host and port have to be the same"
    if not _OWN_PAGES.issuperset(given[b"sec-fetch-site"]):
        return "Sec-Fetch-Site says that a page of another site asks"
    return None


def _is_same(origin: str, host: str) -> bool:
    """Whether the page is ours; where TLS is used it ends before us, but not on loopback."""
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return False
    scheme, own = found[1], _with_port(host, found[1])
    if own is None or (scheme == "https" and _LOOPBACK.fullmatch(own[0])):
        return False
    return _with_port(found[2], scheme) == own


def _with_port(authority: str, scheme: str) -> tuple[str, str] | None:
    found = _AUTHORITY.fullmatch(authority)
    return (found[1], found[2] or _PORTS[scheme]) if found else None

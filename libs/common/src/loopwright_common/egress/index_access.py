"""What uv may reach when it builds an environment for a package that somebody registered."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loopwright_common.egress.addresses import AllowedAddress, parse_allowed
from loopwright_common.egress.proxies import PROXY_VARIABLES, named_proxies
from loopwright_common.egress.rules import EgressRules, Resolver, resolve
from loopwright_common.errors import InvalidError

SETTING = "LOOPWRIGHT_INDEX_ADDRESSES"
_FOR_UV = ("UV_", "SSL_CERT_")
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"https?://[^\s,]+", re.IGNORECASE)
_DEFAULT_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_PYPI, _FILES_OF_PYPI = ("pypi.org", 443), ("files.pythonhosted.org", 443)
_PROXIES_OF_A_FILE = ("http-proxy", "https-proxy", "no-proxy")


@dataclass(frozen=True, slots=True)
class IndexAccess:
    """What an operator lets uv reach beside public addresses and what uv's own variables name."""

    addresses: Sequence[AllowedAddress] = ()
    resolver: Resolver = resolve

    def rules(self, environment: Mapping[str, str]) -> EgressRules:
        """With the indexes and the proxies that the variables name, by host and port.

        InvalidError for a proxy that is not spoken, and for one where it would have no effect.
        """
        proxies = named_proxies(environment)
        return EgressRules(self.addresses, _named_hosts(environment), proxies, self.resolver)


def is_for_uv(name: str) -> bool:
    """Whether a variable of this name is uv's own, such as where an index is."""
    return name.upper().startswith(_FOR_UV)


def index_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What an environment says of how uv asks an index: its own variables, and the proxies."""
    return {
        name: value
        for name, value in environment.items()
        if is_for_uv(name) or name.upper().startswith(PROXY_VARIABLES)
    }


def index_access(addresses: str, environment: Mapping[str, str]) -> IndexAccess:
    """That of the setting; InvalidError where it, or a variable, says nothing of the kind."""
    access = IndexAccess(parse_allowed(addresses, SETTING))
    access.rules(environment)
    return access


def _named_hosts(environment: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """Hosts and ports of the URLs in uv's variables and its settings file, with their schemes.

    Where none of them is another default, uv's own index is, whose files lie at another host.
    """
    texts = [text for name, text in environment.items() if name.startswith("UV_")]
    if file := environment.get("UV_CONFIG_FILE"):
        texts += _texts(_settings(Path(file)))
    hosts = dict(host for text in texts for host in _hosts(text))
    if not any(environment.get(name) for name in _DEFAULT_INDEX):
        hosts[_PYPI] = "https"
    if _PYPI in hosts:
        hosts[_FILES_OF_PYPI] = "https"
    return hosts


def _hosts(text: str) -> Iterator[tuple[tuple[str, int], str]]:
    for url in _URL.findall(text):
        with suppress(ValueError):  # uv itself says what is wrong with it
            parts = urlsplit(url)
            host = (parts.hostname or "").removesuffix(".")
            with suppress(ValueError):
                host = str(ip_address(host))
            yield (host, parts.port or _PORTS[parts.scheme]), parts.scheme


def _settings(file: Path) -> dict[str, Any]:
    """What uv's settings file says; InvalidError for proxies, of which the guard would not know."""
    try:
        said = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # uv itself says what is wrong with it
    if named := [name for name in _PROXIES_OF_A_FILE if name in said]:
        raise InvalidError(
            f"UV_CONFIG_FILE: {named[0]} has no effect there; name proxies in HTTP_PROXY,"
            " HTTPS_PROXY and NO_PROXY",
            field="UV_CONFIG_FILE",
        )
    return said


def _texts(said: object) -> Iterator[str]:
    """All texts in what TOML holds."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict | list):
        for one in said.values() if isinstance(said, dict) else said:
            yield from _texts(one)

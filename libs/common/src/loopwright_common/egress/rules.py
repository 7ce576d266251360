"""Where requests on behalf of others may go, and the connection to what was judged."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from loopwright_common.egress.addresses import AllowedAddress, address_of, is_allowed
from loopwright_common.egress.proxies import Proxies

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host, for a port."""
_SECONDS = 5.0
"""How long one address is tried."""
_PROXY_SECONDS = 15.0
_HTTP = 80
_MOST_TRIED = 4
"""Addresses of one name: who gives a thousand that nobody answers at has us wait for hours."""


class RefusedAddressError(ConnectionRefusedError):
    """The address may not be reached; nobody has tried whether anything listens there."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system says; OSError where there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("no host has such a name") from None
    return [str(one[4][0]) for one in found]


@dataclass(frozen=True, slots=True)
class EgressRules:
    """What may be reached beside public addresses, and through which proxies.

    `hosts` are those that an operator named, by name and port and with their scheme: these very
    ones are reached wherever they are, and no other name of the same address.
    """

    addresses: Sequence[AllowedAddress] = ()
    hosts: Mapping[tuple[str, int], str] = field(default_factory=dict)
    proxies: Proxies = field(default_factory=Proxies)
    resolver: Resolver = resolve
    judges_names: bool = False
    """Whether a name is judged here too where a proxy is asked, as far as it has addresses here;
    one without a dot is never anything public."""

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to what may be reached.

        RefusedAddressError where the host has no such address, another OSError where nobody answers
        at those that it has. A proxy judges names, which may mean something else where it stands.
        """
        scheme = self.hosts.get((host, port))
        plain = scheme == "http" or (scheme is None and port == _HTTP)
        proxy = self.proxies.choose(host, plain=plain)
        found = alternating(self._addresses(host, port) if proxy else self.resolver(host, port))
        judged = found if scheme else self._allowed(found, port)
        if found and not judged:
            raise RefusedAddressError(host)
        if proxy:
            return proxy.connect(host, port, _PROXY_SECONDS)
        peer = _first(judged, port)
        return peer if scheme else self._checked(peer)

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """What is judged of a host that a proxy is asked for."""
        if (literal := _literal(host)) or not self.judges_names:
            return literal
        if "." not in host:
            raise RefusedAddressError(host)
        try:
            return self.resolver(host, port)
        except OSError:
            return []

    def _allowed(self, found: Sequence[str], port: int) -> list[str]:
        return [text for text in found if is_allowed(address_of(text), port, self.addresses)]

    def _checked(self, peer: socket.socket) -> socket.socket:
        """The connection, unless it ends at an address of this machine that is not allowed."""
        there, here = peer.getpeername()[:2], peer.getsockname()[0]
        listed = any(a.holds(address_of(there[0]), there[1]) for a in self.addresses)
        if listed or (there[0] != here and is_allowed(address_of(there[0]), there[1], ())):
            return peer
        peer.close()
        raise RefusedAddressError("an address of this machine")


def alternating(addresses: Sequence[str]) -> list[str]:
    """Those of both versions in turn, since one of the two may lead nowhere from here."""
    first = ":" in addresses[0] if addresses else False
    versions = [[one for one in addresses if (":" in one) is kind] for kind in (first, not first)]
    return [one for pair in zip_longest(*versions) for one in pair if one]


def _first(addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first that answers."""
    failed: OSError = ConnectionError("no address")
    for text in addresses[:_MOST_TRIED]:
        try:
            return socket.create_connection((text, port), _SECONDS)
        except OSError as error:
            failed = error
    raise failed


def _literal(host: str) -> list[str]:
    """The address that a host is by itself, in any spelling that a system understands."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]

"""Which addresses a request on behalf of others may reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from loopwright_common.errors import InvalidError

Address = IPv4Address | IPv6Address
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""A gateway turns these into the address of version 4 in their last 32 bits."""
_NOT_PUBLIC = (IPv4Network("192.0.0.0/24"), IPv6Network("fec0::/10"))
"""Not on the lists of every Python that we run on."""


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """A network that is allowed beside the public addresses, at one port or at all (None)."""

    network: str
    port: int | None

    def holds(self, address: Address, port: int) -> bool:
        """Whether the address at this port is meant."""
        return address in ip_network(self.network) and self.port in (None, port)


def parse_allowed(text: str, field: str) -> tuple[AllowedAddress, ...]:
    """Entries such as `10.1.0.0/16`, `127.0.0.1:3000` or `[::1]:3000`, with commas between.

    InvalidError, at `field`, for one that is none.
    """
    return tuple(_entry(part.strip(), field) for part in text.split(",") if part.strip())


def is_allowed(address: Address, port: int, allowed: Sequence[AllowedAddress]) -> bool:
    """Whether it is a public address, or one of those that an operator allowed."""
    address = _reached(address)
    if any(entry.holds(address, port) for entry in allowed):
        return True
    special = address.is_multicast or address.is_reserved
    return address.is_global and not (special or any(address in net for net in _NOT_PUBLIC))


def _reached(address: Address) -> Address:
    """The address that is really reached through one of version 6 that stands for another."""
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _entry(text: str, field: str) -> AllowedAddress:
    network, port = text, ""
    if text.startswith("["):
        network, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        network, _, port = text.partition(":")
    try:
        ip_network(network)
        return AllowedAddress(network, int(port) if port else None)
    except ValueError:
        raise InvalidError(
            f"{text!r}: give addresses as 10.1.0.0/16, 127.0.0.1:3000 or [::1]:3000", field=field
        ) from None


def address_of(text: str) -> Address:
    """An address as the system's resolver gives it, with or without its interface."""
    return ip_address(text.partition("%")[0])

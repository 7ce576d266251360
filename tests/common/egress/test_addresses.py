"""Which addresses are public, and how an operator names others."""

from ipaddress import ip_address

import pytest

from loopwright_common.egress.addresses import is_allowed, parse_allowed
from loopwright_common.errors import InvalidError

PRIVATE = [
    *("127.0.0.1", "127.255.0.3", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1"),  # noqa: S104
    *("169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.1.1"),
    *("255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::127.0.0.1"),
    *("64:ff9b::a00:1", "2001:db8::1", "fec0::1", "2001::7f00:1"),
]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not is_allowed(ip_address(text), 443, ())


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_what_is_public_is_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), 443, ())


def test_an_operator_allows_networks_and_ports() -> None:
    allowed = parse_allowed("10.1.0.0/16, 127.0.0.1:3000,[::1]:3000", "ADDRESSES")
    for text, port in (("10.1.2.3", 1), ("127.0.0.1", 3000), ("::1", 3000)):
        assert is_allowed(ip_address(text), port, allowed)
    for text, port in (("10.2.0.1", 1), ("127.0.0.1", 3001), ("127.0.0.2", 3000), ("::1", 80)):
        assert not is_allowed(ip_address(text), port, allowed)


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "127.0.0.1:x", "1.2.3.4.5"])
def test_an_entry_that_is_no_address_is_named(text: str) -> None:
    with pytest.raises(InvalidError, match="give addresses as"):
        parse_allowed(text, "ADDRESSES")

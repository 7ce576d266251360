"""What may be reached: public addresses, those allowed, and hosts that an operator named."""

import pytest

from loopwright_common.egress.proxies import Proxies, Proxy
from loopwright_common.egress.rules import EgressRules, RefusedAddressError, alternating, resolve
from tests.common.egress.echo import echoing


def here(*_: object) -> list[str]:
    return ["127.0.0.1"]


def test_a_named_host_is_reached_wherever_it_is_at_its_own_port() -> None:
    with echoing() as (port, _), echoing() as (other, came):
        rules = EgressRules(hosts={("index.test", port): "https"}, resolver=here)
        with rules.connect("index.test", port) as there:
            there.sendall(b"x")
            assert there.recv(1) == b"x"
        for host, asked in (("index.test", other), ("other.test", port), ("127.0.0.1", port)):
            with pytest.raises(RefusedAddressError):
                rules.connect(host, asked)
    assert came == []


def test_no_answer_is_no_refusal() -> None:
    """Whoever asks may try again later."""
    with echoing() as (port, _):
        pass
    rules = EgressRules(hosts={("index.test", port): "http"}, resolver=here)
    with pytest.raises(ConnectionRefusedError) as failed:
        rules.connect("index.test", port)
    assert not isinstance(failed.value, RefusedAddressError)


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 64 + ".test"])
def test_a_name_that_nobody_has_is_no_refusal_either(host: str) -> None:
    with pytest.raises(OSError) as failed:  # noqa: PT011 - whatever the resolver says
        EgressRules().connect(host, 80)
    assert not isinstance(failed.value, RefusedAddressError)


def test_addresses_of_both_versions_are_tried_in_turn() -> None:
    assert alternating(["::1", "::2", "::3", "10.0.0.1"]) == ["::1", "10.0.0.1", "::2", "::3"]
    assert alternating(["10.0.0.1", "::1", "10.0.0.2"]) == ["10.0.0.1", "::1", "10.0.0.2"]
    assert alternating([]) == []


def test_the_system_knows_this_machine() -> None:
    assert "127.0.0.1" in resolve("localhost", 80)


def test_of_a_name_with_many_addresses_a_few_are_tried() -> None:
    with echoing() as (port, _):
        dead = [f"127.9.{number}.1" for number in range(9)]
        rules = EgressRules(
            hosts={("many.test", port): "http"}, resolver=lambda *_: [*dead, "127.0.0.1"]
        )
        with pytest.raises(ConnectionRefusedError):
            rules.connect("many.test", port)
        rules = EgressRules(
            hosts={("some.test", port): "http"}, resolver=lambda *_: [*dead[:3], "127.0.0.1"]
        )
        rules.connect("some.test", port).close()


@pytest.mark.parametrize("host", ["inside.test", "localhost", "wiki"])
def test_a_name_that_is_judged_here_is_not_named_to_a_proxy_where_it_is_private(host: str) -> None:
    with echoing() as (port, came):
        proxy = Proxy("127.0.0.1", port)
        rules = EgressRules(proxies=Proxies(proxy, proxy), resolver=here, judges_names=True)
        with pytest.raises(RefusedAddressError):
            rules.connect(host, 443)
    assert came == []


def test_a_name_that_is_known_to_the_proxy_alone_is_named_to_it() -> None:
    def unknown(*_: object) -> list[str]:
        raise OSError("no such name")

    with echoing() as (port, came):
        proxy = Proxy("127.0.0.1", port)
        rules = EgressRules(proxies=Proxies(proxy, proxy), resolver=unknown, judges_names=True)
        with pytest.raises(ConnectionError, match="the proxy"):
            rules.connect("outside.test", 443)
    assert came

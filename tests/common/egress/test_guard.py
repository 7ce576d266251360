"""The proxy that connects to what it has judged, and to nothing else."""

import socket
import threading
from collections.abc import Sequence

import pytest

from loopwright_common.egress.addresses import AllowedAddress, parse_allowed
from loopwright_common.egress.guard import EgressGuard
from loopwright_common.egress.proxies import named_proxies
from loopwright_common.egress.rules import EgressRules
from loopwright_common.egress.socks_client import connect
from tests.common.egress.echo import echoing
from tests.proxies import connect_proxy


def allowed(port: int) -> Sequence[AllowedAddress]:
    return parse_allowed(f"127.0.0.1:{port}", "")


def test_an_allowed_address_is_reached_and_everything_is_passed_on() -> None:
    said = bytes(range(256)) * 4000
    with (
        echoing() as (port, _),
        EgressGuard(EgressRules(allowed(port))) as guard,
        connect(guard.port, "127.0.0.1", port) as there,
    ):
        sender = threading.Thread(target=there.sendall, args=(said,))
        sender.start()
        heard = b""
        while len(heard) < len(said):
            heard += there.recv(1 << 16)
        sender.join()
    assert heard == said


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1", "2130706433", "0"])
def test_a_private_address_is_refused_and_never_tried(host: str) -> None:
    with (
        echoing() as (port, came),
        EgressGuard(EgressRules()) as guard,
        pytest.raises(ConnectionRefusedError),
    ):
        connect(guard.port, host, port)
    assert came == []


def test_a_name_is_resolved_once_and_what_it_says_later_is_of_no_matter() -> None:
    answers = [["10.0.0.1", "::1"], ["127.0.0.1"]]
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    with echoing() as (port, came):
        with (
            EgressGuard(EgressRules(resolver=rebinding)) as guard,
            pytest.raises(ConnectionRefusedError),
        ):
            connect(guard.port, "evil.test", port)
        with (
            EgressGuard(EgressRules(resolver=rebinding)) as guard,
            pytest.raises(ConnectionRefusedError),
        ):
            connect(guard.port, "evil.test", port)
    assert (asked, came) == (["evil.test"] * 2, [])


def test_of_several_addresses_the_allowed_one_is_taken() -> None:
    with (
        echoing() as (port, came),
        EgressGuard(
            EgressRules(allowed(port), resolver=lambda *_: ["10.0.0.1", "127.0.0.1"])
        ) as guard,
        connect(guard.port, "name.test", port) as there,
    ):
        there.sendall(b"x")
        assert there.recv(1) == b"x"
    assert came == ["127.0.0.1"]


def test_open_and_closed_ports_are_answered_alike() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    told = []
    with echoing() as (port, _), EgressGuard(EgressRules()) as guard:
        for tried in (port, closed):
            with pytest.raises(ConnectionRefusedError) as refused:
                connect(guard.port, "127.0.0.1", tried)
            told.append(str(refused.value))
    assert told[0] == told[1]


def test_it_remembers_what_it_refused_and_what_failed_and_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with EgressGuard(EgressRules(allowed(closed))) as guard:
        for host, port in (("127.0.0.1", closed), ("10.0.0.1", 80), ("10.0.0.1", 80), ("::1", 8)):
            with pytest.raises(ConnectionRefusedError):
                connect(guard.port, host, port)
    assert guard.refused == ["10.0.0.1:80", "[::1]:8"]
    assert guard.failed == [f"127.0.0.1:{closed}: Connection refused"]


@pytest.mark.parametrize("host", ["a b", "a\r\nGET", "", "a/b", "a\0b"])
def test_what_is_no_name_is_not_asked_for(host: str) -> None:
    """Not even of a proxy, to which a line's end would say more."""
    with connect_proxy({}) as proxy:
        rules = EgressRules(proxies=named_proxies({"ALL_PROXY": proxy.url}))
        with EgressGuard(rules) as guard, pytest.raises(ConnectionError):
            connect(guard.port, host, 80)
    assert proxy.asked == []


def test_it_answers_at_a_listener_that_it_is_given() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    where = listener.getsockname()[1]
    with echoing() as (port, _), EgressGuard(EgressRules(allowed(port)), listener) as guard:
        connect(where, "127.0.0.1", port).close()
    assert guard.port == where
    assert listener.fileno() == -1

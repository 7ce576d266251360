"""The proxy that connects to what it has judged, and to nothing else."""

import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest

from loopwright_common.egress.addresses import AllowedAddress, parse_allowed
from loopwright_common.egress.guard import EgressGuard
from loopwright_common.egress.socks_client import connect


@contextmanager
def echoing() -> Generator[tuple[int, list[str]], None, None]:
    """A server on loopback that answers what it hears, and who has come."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, address = server.accept()
                except OSError:
                    return
                came.append(address[0])
                with client:
                    while heard := client.recv(1 << 16):
                        client.sendall(heard)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)


def allowed(port: int) -> Sequence[AllowedAddress]:
    return parse_allowed(f"127.0.0.1:{port}", "")


def test_an_allowed_address_is_reached_and_everything_is_passed_on() -> None:
    said = bytes(range(256)) * 4000
    with (
        echoing() as (port, _),
        EgressGuard(allowed(port)) as guard,
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
        EgressGuard(()) as guard,
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
        with EgressGuard((), rebinding) as guard, pytest.raises(ConnectionRefusedError):
            connect(guard.port, "evil.test", port)
        with EgressGuard((), rebinding) as guard, pytest.raises(ConnectionRefusedError):
            connect(guard.port, "evil.test", port)
    assert (asked, came) == (["evil.test"] * 2, [])


def test_of_several_addresses_the_allowed_one_is_taken() -> None:
    with (
        echoing() as (port, came),
        EgressGuard(allowed(port), lambda *_: ["10.0.0.1", "127.0.0.1"]) as guard,
    ):
        connect(guard.port, "name.test", port).close()
    assert came == ["127.0.0.1"]


def test_open_and_closed_ports_are_answered_alike() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    told = []
    with echoing() as (port, _), EgressGuard(()) as guard:
        for tried in (port, closed):
            with pytest.raises(ConnectionRefusedError) as refused:
                connect(guard.port, "127.0.0.1", tried)
            told.append(str(refused.value))
    assert told[0] == told[1]

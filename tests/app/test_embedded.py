"""One process per data directory, and ports that are taken are named."""

import socket
from pathlib import Path

import pytest

from loopwright.client import PORTS
from loopwright.data_dir import Engine, locked
from loopwright.demo.system import prepare
from loopwright.embedded import addresses, composed, main
from loopwright.ports import check_ports, free_ports
from loopwright_common.errors import ConflictError, InvalidError, UnavailableError


def test_a_data_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConflictError, match="in use"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_data_directory_belongs_to_the_engine_that_made_it(tmp_path: Path) -> None:
    with locked(tmp_path, Engine.KAFKA):
        pass
    with pytest.raises(ConflictError, match="say --engine kafka or give another"), locked(tmp_path):
        pass
    with locked(tmp_path, Engine.KAFKA):
        pass


def test_a_place_that_cannot_hold_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UnavailableError, match="give another --data-dir"),
        locked(tmp_path / "file"),
    ):
        pass


def test_a_port_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for service, free in free_ports().items():
        monkeypatch.setenv(f"LOOPWRIGHT_{service.upper()}_PORT", str(free))
    monkeypatch.setenv("LOOPWRIGHT_TRAINER_PORT", "eighty")
    with pytest.raises(InvalidError, match=r"LOOPWRIGHT_TRAINER_PORT: .*integer"):
        main(tmp_path)


def test_a_taken_port_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for service, free in free_ports().items():
            monkeypatch.setenv(f"LOOPWRIGHT_{service.upper()}_PORT", str(free))
        monkeypatch.setenv("LOOPWRIGHT_SCORER_PORT", str(port))
        with pytest.raises(ConflictError, match=f"port {port}.*LOOPWRIGHT_SCORER_PORT"):
            check_ports()


def test_free_ports_are_all_different_and_none_that_outgoing_connections_take() -> None:
    ports = set(free_ports().values())
    assert len(ports) == 5
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if ephemeral.exists():
        assert max(ports) < int(ephemeral.read_text().split()[0])


async def test_all_addresses_are_told_also_that_for_grpc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ports = free_ports(*PORTS, "scorer_grpc")
    for name, free in ports.items():
        monkeypatch.setenv(f"LOOPWRIGHT_{name.upper()}_PORT", str(free))

    async with composed(tmp_path) as services:
        told = addresses(services)

    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in PORTS}
    assert told == urls | {"scorer gRPC": f"127.0.0.1:{ports['scorer_grpc']}"}


def test_the_demo_removes_only_what_a_demo_left(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="something else"):
        prepare(tmp_path)
    (tmp_path / "endpoints.json").write_text("{}")
    prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []

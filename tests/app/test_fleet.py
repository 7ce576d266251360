"""A program of the fleet is started again when it ends, and nothing of it outlives the fleet."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from loopwright.engines.program import Program
from loopwright.fleet import Child, End, Site
from loopwright.fleet.services import programs
from loopwright_common.errors import UnavailableError

SLEEPS = "import time; print('awake', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
FAILS = "print('no such port'); raise SystemExit(3)"


def program(place: Path, source: str) -> Program:
    return Program("sleeper", (sys.executable, "-c", source), place, place / "log", up=b"awake")


async def up(child: Child, said_before: int = 0) -> int:
    """Its process id, once it has said that it is up."""

    async def is_up() -> bool:
        return child.program.is_up(said_before)

    await child.until_up(is_up, within=120)
    assert child.pid is not None
    return child.pid


class Ends(asyncio.Queue[End]):
    """The ends of a child, as they are told."""

    def of(self, program: Program) -> Child:
        return Child(program, lambda _, end: self.put_nowait(end))

    async def next(self) -> End:
        return await asyncio.wait_for(self.get(), 120)


async def test_a_program_that_dies_is_started_again_and_its_end_is_told(tmp_path: Path) -> None:
    ends = Ends()
    child = ends.of(program(tmp_path, SLEEPS))
    first = await up(child)
    psutil.Process(first).kill()
    assert (await ends.next()).status == -signal.SIGKILL

    second = await up(child, child.program.said())
    assert second != first
    assert await child.stop()
    assert not psutil.pid_exists(second)


async def test_the_pauses_of_one_that_keeps_dying_grow(tmp_path: Path) -> None:
    ends = Ends()
    child = ends.of(program(tmp_path, FAILS))
    told = [await ends.next() for _ in range(3)]
    assert await child.stop()

    assert [end.status for end in told] == [3, 3, 3]
    assert told[0].pause < told[1].pause < told[2].pause


async def test_one_that_ends_before_it_is_up_is_quoted(tmp_path: Path) -> None:
    child = Ends().of(program(tmp_path, FAILS))
    with pytest.raises(UnavailableError, match=r"(?s)sleeper ended at once; .*no such port"):
        await up(child)
    await child.stop()


async def test_one_that_does_not_listen_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright.fleet.child.STOP_SECONDS", 0.5)
    child = Ends().of(program(tmp_path, STUBBORN))
    pid = await up(child)
    assert not await child.stop()
    assert not psutil.pid_exists(pid)


def test_replicas_have_ports_and_directories_of_their_own_and_share_the_rest(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, ports={"scorer": 8004, "monitor": 8005}, replicas={"scorer": 2})
    one, two, _ = programs(site, "kafka://here:1", "postgresql://there")

    assert (one.name, two.name) == ("scorer", "scorer-2")
    assert one.environment["LOOPWRIGHT_SCORER_PORT"] == "8004"
    assert two.environment["LOOPWRIGHT_SCORER_PORT"] == "8014"
    assert "LOOPWRIGHT_SCORER_GRPC_PORT" not in two.environment  # it follows from the other
    differ = {name for name in one.environment if one.environment[name] != two.environment[name]}
    assert differ == {f"LOOPWRIGHT_SCORER_{name}" for name in ("PORT", "CACHE_DIR", "REPLICA")}


@pytest.mark.parametrize(("told", "second"), [("7000", "7010"), ("0", "0")])
def test_replicas_have_ports_of_their_own_for_grpc_where_one_is_told(
    tmp_path: Path, told: str, second: str
) -> None:
    settings = {"LOOPWRIGHT_SCORER_GRPC_PORT": told}
    site = Site(tmp_path, {"scorer": 8004}, {"scorer": 2}, settings)

    ports = [
        program.environment["LOOPWRIGHT_SCORER_GRPC_PORT"]
        for program in programs(site, "kafka://here:1", "postgresql://there")
    ]

    assert ports == [told, second]

"""A process that is started again when it dies."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from loopwright.engines.program import Program
from loopwright.fleet import ProcessExit, SupervisedProcess
from loopwright_common.errors import UnavailableError

SLEEPS = "import time; print('awake', flush=True); time.sleep(60)"


STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS


FAILS = "print('no such port'); raise SystemExit(3)"


def program(place: Path, source: str) -> Program:
    return Program("sleeper", (sys.executable, "-c", source), place, place / "log", up=b"awake")


async def up(child: SupervisedProcess, said_before: int = 0) -> int:
    """Its process id, once it has said that it is up."""

    async def is_up() -> bool:
        return child.program.is_up(said_before)

    await child.wait_until_up(is_up, within=120)
    assert child.pid is not None
    return child.pid


class Ends(asyncio.Queue[ProcessExit]):
    """The ends of a child, as they are told."""

    def of(self, program: Program) -> SupervisedProcess:
        return SupervisedProcess(program, lambda _, end: self.put_nowait(end))

    async def next(self) -> ProcessExit:
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
    monkeypatch.setattr("loopwright.fleet.supervised_process.STOP_SECONDS", 0.5)
    child = Ends().of(program(tmp_path, STUBBORN))
    pid = await up(child)
    assert not await child.stop()
    assert not psutil.pid_exists(pid)

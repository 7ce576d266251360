"""A command that is given up while it starts leaves nothing behind."""

import asyncio
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import psutil
import pytest

from loopwright_common.process.subprocesses import start_session


@pytest.mark.parametrize("stdout", [PIPE, DEVNULL], ids=["pipe", "no-pipe"])
async def test_who_is_cancelled_while_it_starts_leaves_nothing_of_it(
    tmp_path: Path, stdout: int
) -> None:
    listed = tmp_path / "pid"
    command = (
        "/bin/sh",
        "-c",
        f"sleep 1000 & echo $! > {listed}.new; mv {listed}.new {listed}; wait",
    )
    before = set(psutil.Process().children())
    starting = asyncio.create_task(start_session(*command, stdin=DEVNULL, stdout=stdout))
    for _ in range(100):
        if set(psutil.Process().children()) - before:
            break
        await asyncio.sleep(0)
    while not listed.exists():
        time.sleep(0.01)  # noqa: ASYNC251 - the loop stands still, so it is still starting
    assert not starting.done()
    starting.cancel()

    await asyncio.wait([starting])

    assert starting.cancelled()
    assert not _is_running(int(listed.read_text()))


async def test_what_does_not_start_says_so() -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/command"):
        await start_session("/no/such/command")


def _is_running(pid: int) -> bool:
    """Whether it lives: one that has ended may wait for whoever took it in to look."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

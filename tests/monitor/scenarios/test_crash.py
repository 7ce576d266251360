"""Kill the monitor at its half-done moments: after a restart nothing is missing or doubled."""

import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.monitor.crash_process import ROWS, main, open_harness, outcome_of

FAILPOINTS = [
    "monitor.profile-built:1",
    "monitor.captured-file:1",
    "monitor.capture.handled:2",
    "monitor.detect.handled:2",
    "monitor.alarm:1",
    "monitor.manifest-file:1",
    "monitor.asked:1",
    "monitor.published:1",
]


async def outcome(directory: Path) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        return await outcome_of(await open_harness(directory, stack), directory / "out")


async def test_without_a_kill_all_is_there(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["rows"] == undisturbed["seen"] == ROWS
    assert undisturbed["labelled"] == undisturbed["measured"] == ROWS
    assert len(undisturbed["told"]) >= 2


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_a_kill_changes_nothing_in_the_end(
    tmp_path: Path, failpoint: str, undisturbed: dict[str, Any]
) -> None:
    log = tmp_path / "log"
    process = forks.start(
        "tests.monitor.crash_process",
        tmp_path,
        stdout=log,
        stderr=log,
        LOOPWRIGHT_FAILPOINT=failpoint,
    )
    assert process.wait(240) == -signal.SIGKILL, log.read_text()
    await main(tmp_path)

    assert await outcome(tmp_path) == undisturbed

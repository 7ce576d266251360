"""Kill the monitor at its half-done moments: after a restart nothing is missing or doubled."""

import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

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


def run(directory: Path, failpoint: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.monitor.crash_process", str(directory)],
        env={**os.environ, "LOOPWRIGHT_FAILPOINT": failpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
    killed = run(tmp_path, failpoint)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    await main(tmp_path)

    assert await outcome(tmp_path) == undisturbed

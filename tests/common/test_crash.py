"""Kill the process at every delivery failpoint: nothing is lost, nothing is done twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loopwright_common import codec
from loopwright_common.sqlite_log import SqliteLog
from tests.common.probe import service

WANTED = 12
FAILPOINTS = [
    "probe.before-commit:3",
    "probe.committed:1",
    "probe.committed:7",
    "probe.published:1",
    "probe.published:2",
    "probe.marked:1",
    "probe.worker.handled:1",
    "probe.worker.handled:2",
]


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_a_kill_loses_no_event_and_repeats_no_effect(tmp_path: Path, failpoint: str) -> None:
    killed = run(tmp_path, failpoint)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = run(tmp_path, failpoint=None)
    assert finished.returncode == 0, finished.stderr

    database = await service.open_database(f"sqlite:///{tmp_path}")
    effects = await service.effects(database)
    await database.close()
    # The probe notes what it told after the commit, so a kill in between tells that number again,
    # as a new event.
    assert {effect.number for effect in effects} == set(range(WANTED))
    told = await distinct_ids(tmp_path, "code-changed")
    assert len(effects) == len(told)
    assert len(await distinct_ids(tmp_path, "retrain-requested")) == len(told)
    for key in {effect.key for effect in effects}:
        numbers = [effect.number for effect in effects if effect.key == key]
        assert numbers == sorted(numbers)


def run(directory: Path, failpoint: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LOOPWRIGHT_FAILPOINT": failpoint or ""}
    return subprocess.run(
        [sys.executable, "-m", "tests.common.probe.process", str(directory), str(WANTED)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def distinct_ids(directory: Path, topic: str) -> Counter[str]:
    log = await SqliteLog.open(directory)
    records = await log.read([topic], 0, 1000)
    await log.close()
    return Counter(codec.decode(record).id for record in records)

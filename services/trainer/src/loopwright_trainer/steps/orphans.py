"""Processes that a killed trainer left behind."""

import contextlib
import os
from collections.abc import Iterable

import psutil

from loopwright_common.process.subprocesses import kill_group

MARK = "LOOPWRIGHT_RUN"
_TOLERANCE_SECONDS = 1.0


def reap(run_id: str, leaders: Iterable[tuple[int, float]]) -> int:
    """Kill what is left of a run's stages; returns how many processes were still there.

    A group is killed by its leader's id only if that leader started when ours did; others are
    known by the run's mark in their environment, as are those of a stage whose trainer was killed
    before it had noted the leader.
    """
    for pid, started in leaders:
        if _is_ours(pid, started):
            kill_group(pid)
    left = [process for process in psutil.process_iter() if _has_mark(process, run_id)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(left)


def _is_ours(pid: int, started: float) -> bool:
    try:
        same = abs(psutil.Process(pid).create_time() - started) < _TOLERANCE_SECONDS
        return same and os.getpgid(pid) == pid
    except (psutil.Error, ProcessLookupError):
        return False


def _has_mark(process: psutil.Process, run_id: str) -> bool:
    try:
        return process.environ().get(MARK) == run_id
    except (psutil.Error, OSError):
        return False

"""The watchdog of one scorer: `watchdog_main PID SLOTS QUARANTINE MEMORY`. Standard library only.

It ends the scorer in which a computation does not return or takes the memory, and writes down first
which package it was. It ends by itself when its standard input does.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

from loopwright_scorer.watchdog import quarantine_file
from loopwright_scorer.watchdog.computation_slots import read_slots
from loopwright_scorer.watchdog.verdicts import Verdict, VerdictRule

_EVERY_SECONDS = 0.2
_PAGE = resource.getpagesize()
_STATE, _USER_TIME, _SYSTEM_TIME = 0, 11, 12
"""Places in the `stat` of a process or thread, behind its name."""


def main(pid: int, slots: Path, quarantine: Path, memory: int) -> None:
    rule, looked = VerdictRule(memory, _EVERY_SECONDS), time.monotonic()
    while not select.select([sys.stdin], [], [], _EVERY_SECONDS)[0]:
        now = time.monotonic()
        snapshot = read_slots(slots)
        ticks = {one: _ticks(pid, one.native) for one in snapshot.running}
        is_stopped = bool(ticks) and _stat(f"{pid}")[_STATE] in "Tt"
        resident = _resident(pid) if ticks else 0
        if verdict := rule.look(snapshot, ticks, resident, 0.0 if is_stopped else now - looked):
            _end(pid, quarantine, verdict)
            return
        looked = now


def _end(pid: int, quarantine: Path, verdict: Verdict) -> None:
    for digest in verdict.digests:
        quarantine_file.append(quarantine, digest, verdict.reason)
    if os.getppid() == pid:  # else it has ended, and the number may be another's by now
        os.kill(pid, signal.SIGKILL)


def _stat(process: str) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ["?", *["0"] * _SYSTEM_TIME]


def _ticks(pid: int, thread: int) -> int:
    """Processor time of a thread so far."""
    stat = _stat(f"{pid}/task/{thread}")
    return int(stat[_USER_TIME]) + int(stat[_SYSTEM_TIME])


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

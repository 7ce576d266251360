"""A process that computes without end, takes memory or crashes, and its successor."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loopwright_scorer.watchdog import quarantine_file

DIGEST = f"sha256:{'ab' * 32}"
_REPLICA = """
import ctypes, re, sys, time
from pathlib import Path
from loopwright_scorer.watchdog.replica_watchdog import ReplicaWatchdog

watchdog = ReplicaWatchdog(Path(sys.argv[1]), 300 << 20)
key = bytes.fromhex("ab" * 32)
print("up", flush=True)
{does}
"""
_ON_LOOP = "watchdog.slots.begin_on_loop(key)\n"
_IN_THREAD = "with watchdog.slots.in_thread(key, 0.5): "
ENDS = {
    "on the loop, with the interpreter's lock": (
        _ON_LOOP + "re.match('(a+)+$', 'a' * 40 + '!')",
        signal.SIGKILL,
        "did not return",
    ),
    "in a thread": (_IN_THREAD + "any(map(int, iter(int, 1)))", signal.SIGKILL, "did not return"),
    "with all memory": (
        _ON_LOOP + "kept = [bytearray(b'x') * (64 << 20) for _ in range(12)]\nwhile True: pass",
        signal.SIGKILL,
        "memory passed 300 MiB",
    ),
    "by a wild pointer": (_ON_LOOP + "ctypes.string_at(8)", signal.SIGSEGV, "Segmentation fault"),
}


def ended(directory: Path, does: str) -> int:
    """How a process ended that did so under its watchdog."""
    program = [sys.executable, "-c", _REPLICA.format(does=does), str(directory)]
    return subprocess.run(program, capture_output=True, timeout=120, check=False).returncode


@pytest.mark.parametrize("how", ENDS)
def test_what_ended_a_process_is_quarantined(tmp_path: Path, how: str) -> None:
    does, number, reason = ENDS[how]

    assert ended(tmp_path, does) == -number
    assert reason in (reasons(tmp_path).get(DIGEST) or "")


def test_who_was_computing_when_the_process_was_killed_is_not_blamed(tmp_path: Path) -> None:
    assert ended(tmp_path, _ON_LOOP + "import os; os.kill(os.getpid(), 9)") == -signal.SIGKILL
    assert reasons(tmp_path) == {}


def test_a_crash_while_nothing_was_computed_blames_nobody(tmp_path: Path) -> None:
    crash = _ON_LOOP + "watchdog.slots.end_on_loop()\nctypes.string_at(8)"

    assert ended(tmp_path, crash) == -signal.SIGSEGV
    assert reasons(tmp_path) == {}


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    quarantine_file.append(path, DIGEST, "it did harm")
    with path.open("a") as file:
        file.write('{"digest": "sha')

    assert quarantine_file.read(path) == {DIGEST: "it did harm"}


def reasons(directory: Path) -> dict[str, str]:
    """What the next process keeps out."""
    assert ended(directory, "watchdog.stop()") == 0
    return dict(quarantine_file.read(directory / "quarantine.jsonl"))

"""Processes that read damaged inputs, and what they ended of."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.findings import Finding
from tests.fuzz.reader_process import STATUS_OF_GREED, damaged

_PATIENCE = 20.0
"""Seconds for one input, on a busy machine."""
_PLACE = re.compile(r'File ".*?([^/"]+)", line \d+ in (\w+)')


def read_batch(name: str, seed: int, first: int, last: int) -> tuple[int, Finding | None]:
    """Read inputs in one process; the number to go on with, and what ended it before the last."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as said:
        file = Path(directory) / _file(name)
        arguments = [str(seed), str(first), str(last), str(file)]
        process = _start(name, arguments, said.fileno())
        assert process.stdout is not None
        number = first
        while (line := _line(process)) is not None:
            number = int(line) if line else number
            if not line:
                break
        status = process.wait()
        said.seek(0)
        why = _kind(status, said.read().decode(errors="replace"))
    if number >= last and status == 0:
        return last, None
    return number + 1, Finding(why, damaged(name, seed, number))


def crash_kind(name: str, content: bytes) -> str | None:
    """What one input ends a process of; None where it does not."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as said:
        file = Path(directory) / _file(name)
        file.write_bytes(content)
        process = _start(name, [str(file)], said.fileno())
        try:
            status = process.wait(2 * _PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = -signal.SIGKILL
        said.seek(0)
        return _kind(status, said.read().decode(errors="replace")) if status else None


def _file(name: str) -> str:
    from tests.fuzz.formats import FORMATS

    return FORMATS[name].file


def _start(name: str, arguments: list[str], errors: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.reader_process", name, *arguments],
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "RUST_BACKTRACE": "0", "OMP_NUM_THREADS": "1"},
    )


def _line(process: "subprocess.Popen[bytes]") -> bytes | None:
    """The next line, empty at the end; a process that says nothing for too long is killed."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _PATIENCE * 3)[0]:
        process.kill()
        return None
    return process.stdout.readline()


def _kind(status: int, said: str) -> str:
    """The signal, and the innermost function of Python's that ran."""
    if status == STATUS_OF_GREED:
        return "memory"
    if status == -signal.SIGKILL:
        return "hang"
    place = _PLACE.search(said)
    ended = signal.Signals(-status).name.lower() if status < 0 else f"status-{status}"
    return f"{ended}-{place[1].removesuffix('.py')}-{place[2]}" if place else ended

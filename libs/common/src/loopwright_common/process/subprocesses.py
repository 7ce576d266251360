"""Child processes in a session of their own: output to a file, a time limit, no survivors."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Opened here: between fork and exec the dynamic loader's lock may be held by another thread.
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended; `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    seconds: float
    timed_out: bool


async def start(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: Path,
    user: str | None = None,
) -> asyncio.subprocess.Process:
    """Start a command in its own session, appending what it prints to `output`.

    On Linux it is killed when this process dies, so that nothing outlives a crash.
    """
    with output.open("ab") as sink:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            user=user,
            preexec_fn=die_with_parent,
        )


async def finish(process: asyncio.subprocess.Process, limit: float | None) -> Finished:
    """Wait; past `limit` seconds, or when cancelled, the process's whole group is killed."""
    started = time.monotonic()
    timed_out = False
    try:
        async with asyncio.timeout(limit):
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        kill_group(process.pid)
        returncode = await process.wait()
    return Finished(returncode, time.monotonic() - started, timed_out)


def kill_group(pid: int) -> None:
    """Kill a session's processes; those already gone are no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def die_with_parent() -> None:
    """To be called in a child between fork and exec; on Linux it then never outlives its parent."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

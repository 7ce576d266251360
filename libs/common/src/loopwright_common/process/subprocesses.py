"""Child processes in a session of their own: output to a file, a time limit, no survivors."""

import asyncio
import contextlib
import ctypes
import json
import os
import pwd
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

_PR_SET_PDEATHSIG = 1
_MAX_KILL_ROUNDS = 50
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
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start a command as `start_session` does, appending what it prints to `output`."""
    with output.open("ab") as sink:
        return await start_session(
            *command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=asyncio.subprocess.STDOUT,
            **as_user(user),
            pass_fds=pass_fds,
        )


async def start_session(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a command in its own session, with options as of `asyncio.create_subprocess_exec`.

    On Linux it is killed when this process dies, so that nothing outlives a crash. A caller that is
    cancelled leaves nothing of it behind: asyncio by itself would kill the leader alone, and then
    wait until what the leader had started by then closes its pipes.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command, start_new_session=True, preexec_fn=die_with_parent, **options
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            kill_group(starting.result().pid)
            await starting.result().wait()
        raise


def as_user(user: str | None) -> dict[str, Any]:
    """What makes a child run as another user, in that user's own group and no other of ours."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()}


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


def take_stdout() -> TextIO:
    """Standard output for answers alone: whatever else is printed goes where errors go."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def write_answer(answers: TextIO, answer: Mapping[str, object]) -> None:
    """Write a line of JSON to whoever started this process, who reads it at once."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def kill_group(pid: int) -> None:
    """Kill a session's processes and on Linux all that descend from its leader.

    Those already gone are no error. What left the session is still found as long as the leader
    takes in orphans, as the sandbox's launcher does.
    """
    for _ in range(_MAX_KILL_ROUNDS):
        if not (found := _descendants(pid)):
            break
        for process in found:
            _kill(process)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Those alive, the nearest first."""
    found, asked = [], [pid]
    while asked:
        below = [child for one in asked for child in _children(one)]
        found += [child for child in below if _is_alive(child)]
        asked = below
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][:1] not in ("Z", "X")


def die_with_parent() -> None:
    """To be called in a child between fork and exec; on Linux it then never outlives its parent."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

"""A stage's commands as subprocesses: scrubbed environment, private home, log, time limit."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from loopwright_common.errors import LoopwrightError
from loopwright_common.process import subprocesses

Started = Callable[[int, float | None], Awaitable[None]]
"""Told the process id, and when it started (Unix time), before it is waited for."""
_PASSED_ON = ("LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class CommandFailedError(LoopwrightError):
    """A command of a check or a stage failed; the message names it and how it ended."""


@dataclass(frozen=True, slots=True)
class StageCommands:
    """Commands to run one after another; `timeout` in seconds bounds all of them."""

    commands: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    log: Path
    timeout: float


async def execute(job: StageCommands, started: Started) -> float:
    """Run the commands; seconds they took. CommandFailedError at the first that fails."""
    left = job.timeout
    job.log.parent.mkdir(parents=True, exist_ok=True)
    for command in job.commands:
        left -= await _execute_one(job, command, left, started)
    return job.timeout - left


def environment_for(home: Path, *, seed: int | None, extra: Mapping[str, str]) -> dict[str, str]:
    """What a stage's process sees of the world; nothing of ours leaks into it."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "tmp").mkdir(exist_ok=True)
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    interpreter = Path(sys.executable).parent
    return {
        **passed_on,
        **dict.fromkeys(_THREADS, "1"),
        "PATH": f"{interpreter}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": str(seed or 0),
        "LOOPWRIGHT_SEED": str(seed or 0),
        "MPLBACKEND": "Agg",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        **extra,
    }


async def _execute_one(job: StageCommands, command: str, limit: float, started: Started) -> float:
    with job.log.open("ab") as log:
        log.write(f"$ {command}\n".encode())
    process = await subprocesses.start(
        ["/bin/sh", "-c", command], cwd=job.directory, env=job.environment, output=job.log
    )
    try:
        await started(process.pid, _start_of(process.pid))
    except BaseException:
        subprocesses.kill_group(process.pid)
        raise
    finished = await subprocesses.finish(process, max(limit, 0.001))
    if finished.timed_out:
        raise CommandFailedError(f"`{command}` was stopped after {job.timeout:g} s, its time limit")
    if finished.returncode:
        raise CommandFailedError(f"`{command}` {_ended(finished.returncode)}")
    return finished.seconds


def _start_of(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _ended(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by signal {-returncode}"
    if returncode == 127:
        return "ended with exit code 127: command not found"
    return f"ended with exit code {returncode}"

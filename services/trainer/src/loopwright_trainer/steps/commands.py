"""A stage's commands as sandboxed subprocesses: own environment and home, log, time limit."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from starlette.types import ASGIApp

from loopwright_common.errors import LoopwrightError
from loopwright_common.process import subprocesses
from loopwright_common.process.subprocesses import Finished
from loopwright_common.sandbox import ran_out_of_memory
from loopwright_trainer.steps.confinement import PASSED_ON, StageConfinement, disk_is_exceeded
from loopwright_trainer.steps.gateway import StageGateway, gateway_to

Started = Callable[[int, float | None], Awaitable[None]]
"""Told the process id, and when it started (Unix time), before it is waited for."""
_NOT_CONFINED = 125
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class CommandFailedError(LoopwrightError):
    """A command of a check or a stage failed; the message names it and how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCommands:
    """Commands to run one after another in `directory`; `timeout` in seconds bounds all of them.

    They may write below `workspace`, and call `registry`, if any.
    """

    commands: tuple[str, ...]
    workspace: Path
    directory: Path
    environment: Mapping[str, str]
    log: Path
    timeout: float
    confinement: StageConfinement
    registry: ASGIApp | None = None


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
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    interpreter = Path(sys.executable).parent
    return {
        **passed_on,
        **dict.fromkeys(_THREADS, "1"),
        "PATH": f"{interpreter}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LOGNAME": "loopwright",  # its user may have no name
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
    async with gateway_to(job.registry) as gateway:
        wrapped = await _wrapped(job, command, gateway)
        process = await _start(job, wrapped, gateway)
        async with gateway.serving() if gateway else contextlib.nullcontext():
            try:
                await started(process.pid, _start_of(process.pid))
            except BaseException:
                subprocesses.kill_group(process.pid)
                raise
            finished = await _finish(job, process, max(limit, 0.001), command)
    if finished.timed_out:
        raise CommandFailedError(f"`{command}` was stopped after {job.timeout:g} s, its time limit")
    if finished.returncode:
        how = _ended(finished.returncode)
        if ran_out_of_memory(wrapped):
            how += (
                "; it ran out of memory, of which all its processes together may have "
                f"{job.confinement.memory >> 20} MiB (LOOPWRIGHT_TRAINER_STAGE_MEMORY)"
            )
        raise CommandFailedError(f"`{command}` {how}")
    return finished.seconds


async def _wrapped(job: StageCommands, command: str, gateway: StageGateway | None) -> list[str]:
    policy = job.confinement.policy(job.workspace, gateway.policy if gateway else None)
    # Aside, since it may change the owner of many files.
    return await asyncio.to_thread(job.confinement.sandbox.wrap, ["/bin/sh", "-c", command], policy)


async def _start(job: StageCommands, wrapped: list[str], gateway: StageGateway | None) -> Process:
    return await subprocesses.start(
        wrapped,
        cwd=job.directory,
        env=job.environment,
        output=job.log,
        pass_fds=[gateway.policy.fd] if gateway else [],
    )


async def _finish(job: StageCommands, process: Process, limit: float, command: str) -> Finished:
    disk = job.confinement.disk

    def kill(watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            subprocesses.kill_group(process.pid)

    exceeded = asyncio.create_task(disk_is_exceeded(disk, process.pid, job.workspace, job.log))
    exceeded.add_done_callback(kill)
    try:
        finished = await subprocesses.finish(process, limit)
        if exceeded.done():
            await exceeded
            raise CommandFailedError(
                f"`{command}` wrote more than {disk >> 20} MiB, its limit "
                "(LOOPWRIGHT_TRAINER_STAGE_DISK)"
            )
    finally:
        exceeded.cancel()
    return finished


def _start_of(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _ended(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by signal {-returncode}"
    if returncode == _NOT_CONFINED:
        return "could not be sandboxed, as the end of its log says"
    if returncode == 127:
        return "ended with exit code 127: command not found"
    return f"ended with exit code {returncode}"

"""Subprocesses that packaging and staging run in, some of them started ahead.

Imports take seconds, so a warm process has done them and waits for one JSON line on standard
input. It ends when its standard input closes, and on Linux dies with this process even at work.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.process.subprocesses import die_with_parent

PACKAGING = (sys.executable, "-m", "loopwright_deployer.packaging", "--warm")
SCORER = (sys.executable, "-m", "loopwright_scorer.staging_server")
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class TransientError(UnavailableError):
    """What a process needs for its job is out of reach: the same job may succeed later."""


class WarmProcessPool:
    """Processes of one command, some of them started ahead of their use."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._waiting: list[asyncio.subprocess.Process] = []

    async def resize(self, wanted: int) -> None:
        """Have this many waiting: start what lacks, end what is too many."""
        self._waiting = [one for one in self._waiting if one.returncode is None]
        while len(self._waiting) > wanted:
            await kill(self._waiting.pop())
        while len(self._waiting) < wanted:
            self._waiting.append(await self._start())

    async def acquire(self) -> asyncio.subprocess.Process:
        """The one that waits longest, or a process that begins its imports now."""
        while self._waiting:
            taken = self._waiting.pop(0)
            if taken.returncode is None:
                return taken
        return await self._start()

    def stderr_tail(self) -> str:
        """The end of what such processes wrote to standard error."""
        if not self._log.exists():
            return ""
        return self._log.read_text(errors="replace")[-600:].strip()

    async def _start(self) -> asyncio.subprocess.Process:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as sink:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                env={**os.environ, **_SINGLE_THREADED},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )


async def send_job(process: asyncio.subprocess.Process, job: dict[str, Any], limit: float) -> Any:
    """Give the process its one line and read its one answer.

    InvalidError with the process's own words when it refuses, PassingError when only for now;
    UnavailableError when it dies or says nothing within `limit` seconds.
    """
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    try:
        async with asyncio.timeout(limit):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
    except TimeoutError:
        raise UnavailableError(f"no answer within {limit:g} s") from None
    except ConnectionError:
        line = b""
    if not line:
        raise UnavailableError(f"the process ended with status {await process.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise (TransientError if answer.get("transient") else InvalidError)(str(answer["error"]))
    return answer


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process and wait for its end: it holds nothing that is not in the store."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@asynccontextmanager
async def staging_scorer(
    pool: WarmProcessPool,
    package: Path,
    model: str,
    version: int,
    *,
    environments: Path | None = None,
    limit: float = 60.0,
) -> AsyncGenerator[str, None]:
    """The URL of a scorer process that serves this serving package and nothing else.

    `environments` has those that packages run on which need other Python packages.
    """
    process = await pool.acquire()
    try:
        job: dict[str, Any] = {"package": str(package), "model": model, "version": version}
        if environments is not None:
            job["environments"] = str(environments)
        answer = await send_job(process, job, limit)
        yield str(answer["url"])
    finally:
        await kill(process)

"""A program that is started again whenever it ends, as `restart: unless-stopped` would."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from loopwright.engines.program import Program
from loopwright_common.errors import UnavailableError
from loopwright_common.process import subprocesses

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_STEADY_SECONDS = 10.0
"""Who lived that long is started again without growing delay."""
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a program ended by itself: `status` as in subprocess, times in seconds."""

    status: int
    lived: float
    pause: float


class SupervisedProcess:
    """`program` may be replaced: the next start takes the new one."""

    def __init__(
        self, program: Program, on_end: Callable[["SupervisedProcess", ProcessExit], None]
    ) -> None:
        self.program = program
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._ends = 0
        self._supervisor = asyncio.create_task(self._supervise())

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def wait_until_up(self, is_up: Callable[[], Awaitable[bool]], within: float) -> None:
        """UnavailableError with its last words when it ends before, or is not up in time."""
        deadline, ends = time.monotonic() + within, self._ends
        # It may have spoken before its start has returned here.
        while not (await is_up() and self.pid is not None):
            if self._supervisor.done():
                self._supervisor.result()
            if self._ends > ends or time.monotonic() > deadline:
                how = "ended at once" if self._ends > ends else f"was not up within {within:.0f} s"
                raise UnavailableError(f"{self.name} {how}; {self.program.last_words()}")
            await asyncio.sleep(0.05)

    def terminate(self) -> None:
        """It starts anew afterwards, unless it is being stopped."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(self.program.stop)

    async def restart(self) -> None:
        """Return once the process that ran has ended."""
        process = self._process
        self.terminate()
        if process:
            await process.wait()

    async def stop(self) -> bool:
        """Ask, and kill what has not ended in ten seconds; False when that was needed."""
        self._stopping.set()
        self.terminate()
        done, _ = await asyncio.wait({self._supervisor}, timeout=STOP_SECONDS)
        if not done and self._process:
            subprocesses.kill_group(self._process.pid)
        await self._supervisor
        return bool(done)

    async def _supervise(self) -> None:
        quick_ends = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._run_once()
            lived = time.monotonic() - started
            quick_ends = 0 if lived > _STEADY_SECONDS else quick_ends + 1
            if not self._stopping.is_set():
                end = ProcessExit(status, lived, min(_FIRST_PAUSE * 2**quick_ends, _LONGEST_PAUSE))
                self._ends += 1
                self._on_end(self, end)
                with suppress(TimeoutError):
                    async with asyncio.timeout(end.pause):
                        await self._stopping.wait()

    async def _run_once(self) -> int:
        program = self.program
        self._process = await subprocesses.start(
            program.command,
            cwd=program.directory,
            env=program.environment,
            output=program.log,
            user=program.user,
        )
        if self._stopping.is_set():
            self.terminate()
        status = await self._process.wait()
        subprocesses.kill_group(self._process.pid)
        return status

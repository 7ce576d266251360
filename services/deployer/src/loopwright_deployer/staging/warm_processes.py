"""Processes that packaging and staging run in, some of them started ahead.

Imports take seconds, so a warm process has done them and waits for one JSON line on standard
input.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess

PACKAGING = (sys.executable, "-m", "loopwright_deployer.packaging", "--warm")
SCORER = (sys.executable, "-m", "loopwright_scorer.staging_server")
HOLDOUT_READER = (
    sys.executable,
    "-m",
    "loopwright_deployer.staging.evaluation.holdout_reader",
)
CAPTURED_READER = (
    sys.executable,
    "-m",
    "loopwright_deployer.staging.evaluation.captured_reader",
)
DESCRIBE = (sys.executable, "-m", "loopwright_scorer.models.describe")


class WarmProcessPool:
    """Processes of one command, some of them started ahead of their use."""

    def __init__(self, command: ConfinedCommand) -> None:
        self._command = command
        self._waiting: list[ConfinedProcess] = []

    async def resize(self, wanted: int) -> None:
        """Have this many waiting: start what lacks, end what is too many."""
        for dead in [one for one in self._waiting if not one.is_alive]:
            self._waiting.remove(dead)
            await dead.close()
        while len(self._waiting) > wanted:
            await self._waiting.pop().close()
        while len(self._waiting) < wanted:
            self._waiting.append(await ConfinedProcess.start(self._command))

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[ConfinedProcess, None]:
        """The one that waits longest, or one that begins its imports now; closed at the end."""
        process = await self._acquire()
        try:
            yield process
        finally:
            await process.close()

    async def _acquire(self) -> ConfinedProcess:
        while self._waiting:
            taken = self._waiting.pop(0)
            if taken.is_alive:
                return taken
            await taken.close()
        return await ConfinedProcess.start(self._command)

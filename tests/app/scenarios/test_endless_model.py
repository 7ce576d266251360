"""All services in one process: a model that never ends for one value stops none of the others."""

import asyncio
from pathlib import Path

from benchmarks.endless_model import running

from tests.scorer.harmful_packages import EVIL

CALLS_MEANWHILE = 20


async def test_other_models_are_answered_while_one_never_ends(tmp_path: Path) -> None:
    async with running(tmp_path, isolated_call_timeout=10) as system:
        pid = system.process.pid
        answered = 0
        endless = asyncio.create_task(system.ask("endless", EVIL))
        asking = asyncio.create_task(system.ask_steadily())
        while not endless.done():
            answered = len(system.seconds)
            await asyncio.wait([endless], timeout=0.1)
        asking.cancel()

        assert await endless == 500
        assert answered >= CALLS_MEANWHILE
        assert system.failed == 0
        assert system.process.pid == pid, "it was started anew"

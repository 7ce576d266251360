import asyncio
from contextlib import suppress

import pytest

from loopwright_common.errors import UnavailableError
from loopwright_common.process.worker_loop import work_on_wake

LONG = 3600.0


class Work:
    """Counts its turns; `faults` are raised by the first ones."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)
        self.turns = 0
        self.worked = asyncio.Event()

    async def __call__(self) -> None:
        self.turns += 1
        self.worked.set()
        if self._faults:
            raise self._faults.pop(0)

    async def next_turn(self) -> None:
        await self.worked.wait()
        self.worked.clear()


async def test_it_works_at_once_and_on_every_wake() -> None:
    wake, work = asyncio.Event(), Work()
    loop = asyncio.create_task(work_on_wake(wake, work, name="test", every=LONG))
    await work.next_turn()
    wake.set()
    await work.next_turn()
    assert work.turns == 2
    await stop(loop)


async def test_a_lost_wake_is_made_up_for() -> None:
    work = Work()
    loop = asyncio.create_task(work_on_wake(asyncio.Event(), work, name="test", every=0.01))
    await work.next_turn()
    await work.next_turn()
    await stop(loop)


async def test_a_passing_fault_waits_for_the_next_turn_and_any_other_ends_the_loop() -> None:
    wake, work = asyncio.Event(), Work(UnavailableError("away"), ValueError("ours"))
    loop = asyncio.create_task(work_on_wake(wake, work, name="test", every=LONG))
    await work.next_turn()
    assert not loop.done()
    wake.set()
    with pytest.raises(ValueError, match="ours"):
        await loop


async def stop(loop: asyncio.Task[object]) -> None:
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop

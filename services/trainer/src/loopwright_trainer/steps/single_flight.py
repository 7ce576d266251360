"""Single flight: of equal steps at one time, in whatever runs and trainers, one runs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from loopwright_common.database import leases
from loopwright_trainer.runs.run_lease import RunLease

_LOOK_SECONDS = 0.2
Waits = Callable[[], Awaitable[None]]
"""Told now and then while another has the step."""


@asynccontextmanager
async def hold_step(tenure: RunLease, key: str, waits: Waits) -> AsyncGenerator[None, None]:
    """Hold the step; whoever waits for it holds none, so nobody waits in a circle."""
    while True:
        async with tenure.writing() as uow:
            lease = await leases.take(uow, f"step/{key}", tenure.length)
        if lease:
            break
        await waits()
        await asyncio.sleep(_LOOK_SECONDS)
    async with leases.keeping(tenure.database, lease, tenure.length):
        yield

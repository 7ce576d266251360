"""Single flight: of equal steps at one time, in whatever runs and trainers, one runs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from loopwright_common.database import leases
from loopwright_trainer.runs.run_lease import RunLease

_POLL_SECONDS = 0.2
OnWait = Callable[[], Awaitable[None]]
"""Called now and then while another has the step."""


@asynccontextmanager
async def hold_step(run: RunLease, key: str, on_wait: OnWait) -> AsyncGenerator[None, None]:
    """Hold the step; whoever waits for it holds none, so nobody waits in a circle.

    LeaseLostError once another has the run or the step.
    """
    while True:
        async with run.transaction() as uow:
            lease = await leases.acquire(uow, f"step/{key}", run.length)
        if lease:
            break
        await on_wait()
        await asyncio.sleep(_POLL_SECONDS)
    async with leases.keep_renewed(run.database, lease, run.length):
        yield

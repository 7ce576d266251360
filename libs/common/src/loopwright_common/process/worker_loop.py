"""The shape of every worker: it works when woken, and now and then in case a wake was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Never

import structlog

from loopwright_common.errors import UnavailableError

log = structlog.get_logger()


async def work_on_wake(
    wake: asyncio.Event,
    work: Callable[[], Awaitable[None]],
    *,
    name: str,
    every: float,
    rest: float = 0.0,
) -> Never:
    """Work at once, on every wake, and every `every` seconds; until cancelled.

    A passing fault (`UnavailableError`) is logged as `worker.paused` and waits for the next turn;
    any other ends the loop. Two turns are `rest` seconds apart at least, however often it is woken.
    """
    while True:
        wake.clear()
        try:
            await work()
        except UnavailableError as error:
            log.warning("worker.paused", worker=name, error=str(error))
        if rest:
            await asyncio.sleep(rest)
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await wake.wait()

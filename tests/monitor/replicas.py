"""Two replicas of the monitor in one process, and their steps taken at once."""

import asyncio

from loopwright_common.bus.interface import Subscription
from tests.monitor.harness import MonitorHarness

Pair = tuple[MonitorHarness, MonitorHarness]
Seat = tuple[MonitorHarness, Subscription]


async def step_together(*seats: Seat, name: str) -> None:
    """Step at the same time, and in the end each alone: one that was displaced goes back."""
    while any(
        await asyncio.gather(
            *(harness.consumers[name].step(seat, wait=0) for harness, seat in seats)
        )
    ):
        pass
    for harness, seat in seats * 3:
        while await harness.consumers[name].step(seat, wait=0):
            pass

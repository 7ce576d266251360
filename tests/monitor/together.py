"""Two replicas of the monitor in one process, and their steps taken at once."""

import asyncio

from loopwright_common.bus.interface import Subscription
from tests.monitor.house import House

Pair = tuple[House, House]
Seat = tuple[House, Subscription]


async def together(*seats: Seat, name: str) -> None:
    """Step at the same time, and in the end each alone: one that was displaced goes back."""
    while any(
        await asyncio.gather(*(house.consumers[name].step(seat, wait=0) for house, seat in seats))
    ):
        pass
    for house, seat in seats * 3:
        while await house.consumers[name].step(seat, wait=0):
            pass

"""Run the probe service in a process of its own until it has handled N events and told of them.

    DATABASE_URL BUS_URL TOPIC_PREFIX N

A test kills it at a failpoint and starts it again, as a supervisor would.
"""

import asyncio
import sys
from contextlib import suppress

from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.bus_factory import open_bus
from tests.common.probe import service
from tests.history import Fact

KEYS = 3


def facts(wanted: int) -> list[Fact]:
    """What one run or several tell between them."""
    return [(f"key-{number % KEYS}", number) for number in range(wanted)]


async def main(database_url: str, bus_url: str, prefix: str, wanted: int) -> None:
    bus = await open_bus(bus_url, prefix)
    database = await service.open_database(database_url)
    loops = [
        asyncio.create_task(OutboxRelay(database, bus, Metrics()).run()),
        asyncio.create_task(service.consumer(database, bus).run()),
    ]
    for key, number in facts(wanted):
        await service.tell_once(database, key, number)
    while len({effect.number for effect in await service.effects(database)}) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    while await service.waiting(database):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
    await database.close()
    await bus.close()


if __name__ == "__main__":
    database_url, bus_url, prefix, wanted = sys.argv[1:]
    asyncio.run(main(database_url, bus_url, prefix, int(wanted)))

"""A member of a group in a process of its own, to be killed once it has said how far it is."""

import asyncio
import sys

from tests.common.bus_harness import GROUP, TOPIC, BusAddress, collect, no_positions


async def read(address: BusAddress) -> None:
    bus = await address.open()
    subscription = await bus.subscribe(GROUP, [TOPIC], no_positions)
    records = await collect(subscription, 4)
    print(records[1].partition, records[1].offset + 1, flush=True)  # noqa: T201  (the parent waits for it)
    await asyncio.sleep(3600)


asyncio.run(read(BusAddress(*sys.argv[1:3])))

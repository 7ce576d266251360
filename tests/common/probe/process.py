"""Run the probe service in a process of its own until it has handled N events: DIR N.

A test kills it at a failpoint and starts it again, as a supervisor would.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from loopwright_common.metrics import Metrics
from loopwright_common.relay import Relay
from loopwright_common.sqlite_log import SqliteLog
from tests.common.probe import service

KEYS = 3


async def main(directory: Path, wanted: int) -> None:
    bus = await SqliteLog.open(directory)
    database = await service.open_database(f"sqlite:///{directory}")
    loops = [
        asyncio.create_task(Relay(database, bus, Metrics()).run()),
        asyncio.create_task(service.consumer(database, bus).run()),
    ]
    told = directory / "told"
    for number in range(int(told.read_text()) if told.exists() else 0, wanted):
        await service.tell(database, f"key-{number % KEYS}", number)
        told.write_text(str(number + 1))
    while len({effect.number for effect in await service.effects(database)}) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
    await database.close()
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

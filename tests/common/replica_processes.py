"""Several replicas of the probe service, and producers that repeat what did not go well."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.runtime import run_until
from loopwright_common.process.service import Service, delivery_loops
from loopwright_common.web.app import create_app
from tests.common.bus_harness import until
from tests.common.probe import service
from tests.history import Fact, Verdict, judge

CUT = "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE datname = $1"


class Replica:
    """A process of the service in all but the process: connections, relay and consumer."""

    def __init__(self, name: str, database: Database, bus: EventBus) -> None:
        self.name = name
        self.database = database
        self.told: list[Fact] = []
        self.repeated = 0
        metrics = Metrics()
        loops = delivery_loops(database, bus, metrics, [service.consumer(database, bus)])
        self.service = Service(
            name=name, app=create_app(name, metrics, {}), host="127.0.0.1", port=0,
            metrics=metrics, loops=loops,
        )  # fmt: skip

    async def tell(self, count: int, keys: int = 3) -> None:
        """The next `count` facts, each again until it is kept."""
        for fact in self._next(count, keys):
            await self._tell([fact])

    async def tell_together(self, count: int, keys: int) -> None:
        """As `tell`, in one transaction."""
        await self._tell(self._next(count, keys))

    def _next(self, count: int, keys: int) -> list[Fact]:
        first = len(self.told)
        return [(f"{self.name}-{n % keys}", n) for n in range(first, first + count)]

    async def _tell(self, facts: Sequence[Fact]) -> None:
        while True:
            try:
                await service.tell_together(self.database, facts)
            except UnavailableError:
                self.repeated += 1
                await asyncio.sleep(0.02)
            else:
                self.told += facts
                return


@asynccontextmanager
async def replicas(url: str, bus: EventBus, count: int = 2) -> AsyncGenerator[list[Replica], None]:
    """Replicas whose loops run until the block ends."""
    databases = [await service.open_database(url) for _ in range(count)]
    made = [Replica(f"replica{n}", database, bus) for n, database in enumerate(databases)]
    stop = asyncio.Event()
    running = asyncio.create_task(run_until(stop, [replica.service for replica in made]))
    try:
        yield made
    finally:
        stop.set()
        await running
        for database in databases:
            await database.close()


async def verdict_on(made: Sequence[Replica], within: float = 240) -> Verdict:
    """Once all that was told has gone through, within so many seconds."""
    told = [fact for replica in made for fact in replica.told]
    database = made[0].database

    async def is_quiet() -> bool:
        try:
            effects = await service.count_effects(database)
            return effects >= len(told) and not await service.waiting(database)
        except UnavailableError:  # a connection of the pool that was cut while nobody used it
            return False

    await until(is_quiet, within)
    return judge(told, await service.effects(database))


async def cut_all(server: str, database: str, wait_ms: int = 0) -> int:
    """Terminate every client of the database, as an operator may; returns how many.

    Each is given so many milliseconds to be gone; without any it may live on for a moment.
    """
    connection = await asyncpg.connect(server)
    cut = await connection.fetch(CUT, database, wait_ms)
    await connection.close()
    return len(cut)

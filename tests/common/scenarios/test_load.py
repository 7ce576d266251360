"""Everything at once, for a long time: a broker that dies, cut connections, members that come and
go, every event delivered three times, two relays. Nothing is lost, nothing happens twice.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from loopwright_common.bus.interface import EventBus, LoadPositions, Positions, Subscription
from loopwright_common.bus.topics import all_topics
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.process.declare_topics import ensure_topics
from tests.common.bus_harness import BusAddress
from tests.common.probe import service
from tests.common.replica_processes import Replica, cut_all, replicas, verdict_on
from tests.common.scenarios.test_kafka_faults import broker
from tests.engines import MortalKafka

__all__ = ["broker"]
EVENTS = 50_000
KEYS = 200
BATCH = 50
BROKER_DEATHS = 3
CUT_SECONDS = 1.0
STAY_SECONDS = 2.0


class Thrice:
    """A bus on which each record arrives three times, once long after those behind it."""

    def __init__(self, inner: EventBus) -> None:
        self._inner = inner
        self._before: Sequence[OutgoingRecord] = ()

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        await self._inner.publish([*records, *records, *self._before])
        self._before = records

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        return await self._inner.subscribe(group, topics, load_positions)

    async def ends(self, topics: Sequence[str]) -> Positions:
        return await self._inner.ends(topics)

    async def positions_at(self, topics: Sequence[str], moment: datetime) -> Positions:
        return await self._inner.positions_at(topics, moment)

    async def close(self) -> None:
        await self._inner.close()


@pytest.fixture
async def address(broker: MortalKafka) -> BusAddress:
    address = BusAddress(broker.url, f"{uuid.uuid4().hex[:8]}.")
    await ensure_topics(address.url, address.prefix, all_topics(["probe.worker"]))
    return address


@pytest.mark.crash
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_fifty_thousand_events_survive_every_fault_at_once(
    address: BusAddress, broker: MortalKafka, database_url: str, postgres_server: str
) -> None:
    bus = Thrice(await address.open())
    with capture_logs():
        async with (
            replicas(database_url, bus) as (one, other),
            members_joining_and_leaving(database_url, address) as visits,
        ):
            telling = [asyncio.create_task(tell(each)) for each in (one, other)]
            deaths = asyncio.create_task(die(broker, one))
            cuts = await cut_until(deaths, telling, postgres_server, database_url)
            verdict = await verdict_on([one, other], within=2000)
    await bus.close()

    print(  # noqa: T201
        f"\nbroker killed {BROKER_DEATHS} times, {cuts} connections cut, {len(visits)} members "
        f"came and went, {one.repeated + other.repeated} transactions again, each event three "
        f"times: {verdict}"
    )
    assert verdict.told == EVENTS
    assert verdict.clean, verdict


async def tell(replica: Replica) -> None:
    for _ in range(EVENTS // 2 // BATCH):
        await replica.tell_together(BATCH, KEYS)


async def die(broker: MortalKafka, seen_by: Replica) -> None:
    """Kill the broker after each quarter of what one replica has to tell."""
    for death in range(1, BROKER_DEATHS + 1):
        while len(seen_by.told) < death * EVENTS // 2 // (BROKER_DEATHS + 1):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        broker.kill()
        await asyncio.sleep(1)
        await broker.comes_up()


async def cut_until(
    deaths: asyncio.Task[None], telling: Sequence[asyncio.Task[None]], server: str, url: str
) -> int:
    """Cut every connection to the database again and again, until all is told."""
    cuts, name = 0, make_url(url).database or ""
    while not (deaths.done() and all(task.done() for task in telling)):
        await asyncio.sleep(CUT_SECONDS)
        cuts += await cut_all(server, name)
    await asyncio.gather(deaths, *telling)
    return cuts


async def stay(database: Database, bus: EventBus) -> None:
    member = asyncio.create_task(service.consumer(database, bus).run())
    await asyncio.wait([member], timeout=STAY_SECONDS)
    member.cancel()
    await asyncio.wait([member])
    await bus.close()
    await database.close()


@asynccontextmanager
async def members_joining_and_leaving(
    url: str, address: BusAddress
) -> AsyncGenerator[list[int], None]:
    """A third member that joins the group, works for a while, and leaves, over and over."""
    visits: list[int] = []
    stop = asyncio.Event()

    async def visit() -> None:
        while not stop.is_set():
            with suppress(UnavailableError):  # its connection was cut as it came
                database = await service.open_database(url)
                await stay(database, await address.open())
                visits.append(len(visits))
            await asyncio.sleep(STAY_SECONDS)

    task = asyncio.create_task(visit())
    try:
        yield visits
    finally:
        stop.set()
        await task

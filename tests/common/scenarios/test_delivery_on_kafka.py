"""The core of delivery again, with members that really join, leave and are replaced on Kafka."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import sqlalchemy as sa

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, inbox, outbox, parked
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.events import CodeChanged
from loopwright_common.observability.metrics import Metrics
from tests.common.bus_harness import GROUP, BusAddress
from tests.common.delivery.test_consumer import code_changed, rows
from tests.common.delivery.test_rewind import forget_effects, until
from tests.common.delivery_harness import Faulty, junk, person_at
from tests.common.probe.service import EFFECTS, HASTY, effects

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def kafka(kafka_address: BusAddress) -> AsyncGenerator[EventBus, None]:
    bus = await kafka_address.open()
    yield bus
    await bus.close()


def worker(database: Database, bus: EventBus, faulty: Faulty | None = None) -> Consumer:
    handlers: Handlers = {CodeChanged: (faulty or Faulty()).on_code_changed}
    return Consumer(GROUP, handlers, database, bus, Metrics(), retry_policy=HASTY,
                    reset=forget_effects)  # fmt: skip


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncGenerator[None, None]:
    task = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_members_that_come_and_go_lose_repeat_and_reorder_nothing(
    database: Database, kafka: EventBus
) -> None:
    async with running(worker(database, kafka)):
        for start in range(0, 300, 100):
            numbers = range(start, start + 100)
            events = [code_changed(f"k{number % 5}", number) for number in numbers]
            await kafka.publish([*events, *events, junk(start)])
            async with running(worker(database, kafka)):
                await until(database, start + 50)
        await until(database, 300)
        async with asyncio.timeout(120):
            while len(await rows(database, dead_letters)) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    done = await effects(database)
    assert sorted(effect.number for effect in done) == list(range(300))
    for key in {effect.key for effect in done}:
        numbers_of_key = [effect.number for effect in done if effect.key == key]
        assert numbers_of_key == sorted(numbers_of_key)
    assert len(await rows(database, dead_letters)) == 3


async def test_what_a_dead_member_parked_its_successor_retries_in_order(
    database: Database, kafka: EventBus
) -> None:
    store = Faulty()
    store.down = {"bad"}
    await kafka.publish([code_changed("bad", number) for number in range(3)])
    async with running(worker(database, kafka, store)):
        await kafka.publish([code_changed("good", 9)])
        await until(database, 1)
    await kafka.publish([code_changed("bad", 3)])
    store.down.clear()
    async with running(worker(database, kafka, store)):
        await until(database, 5)

    assert [e.number for e in await effects(database) if e.key == "bad"] == [0, 1, 2, 3]
    assert not await rows(database, parked)


async def test_a_running_group_takes_up_a_reread_and_a_rebuild(
    database: Database, kafka: EventBus
) -> None:
    consumer = worker(database, kafka)
    await kafka.publish([code_changed("a", number) for number in range(20)])
    async with running(consumer), person_at(database, consumer) as person:
        await until(database, 20)
        async with database.unit_of_work() as uow:
            await uow.connection.execute(sa.delete(EFFECTS).where(EFFECTS.c.number == 7))
            await uow.connection.execute(sa.delete(inbox).where(inbox.c.event_id == "a-7"))
            await uow.connection.execute(sa.delete(outbox))
        await person.post(f"/v1/consumers/{GROUP}/reread", topic="code-changed")
        await until(database, 20)
        async with database.unit_of_work() as uow:
            await uow.connection.execute(sa.delete(outbox))
        await person.post(f"/v1/consumers/{GROUP}/rebuild")
        await until(database, 20)
        (shown,) = (await person.get("/v1/consumers"))["items"]

    assert [effect.number for effect in await effects(database)] == list(range(20))
    assert not await rows(database, outbox)
    assert (shown["generation"], shown["lag"]) == (1, 0)

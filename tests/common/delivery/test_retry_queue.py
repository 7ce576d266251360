"""Records that wait: in the order of their key, for as long as a fault may pass."""

import asyncio

import sqlalchemy as sa

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, parked
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.errors import UnavailableError
from loopwright_common.events import CodeChanged, Event
from loopwright_common.observability.metrics import Metrics
from tests.common.delivery.test_consumer import code_changed, handle_all, rows
from tests.common.probe import service
from tests.common.probe.service import HANDLERS, Effect, effects


class Store:
    """Something a handler needs that is away for a while."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def on_code_changed(self, event: Event[CodeChanged], uow: UnitOfWork) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the store is away")
        await service.on_code_changed(event, uow)


async def test_a_passing_fault_is_waited_out_longer_than_any_patience(
    database: Database, bus: SqliteBus
) -> None:
    store = Store(failures=20)
    await bus.publish([code_changed("a", 1), code_changed("a", 2)])

    consumer = service.consumer(database, bus, {CodeChanged: store.on_code_changed})
    await handle_all(consumer, bus, rounds=24)

    assert await effects(database) == [Effect("a", 1), Effect("a", 2)]
    assert not await rows(database, dead_letters)


async def test_what_waited_behind_a_parked_record_is_handled_at_once(
    database: Database, bus: SqliteBus
) -> None:
    store = Store(failures=1)
    consumer = service.consumer(database, bus, {CodeChanged: store.on_code_changed})
    await bus.publish([code_changed("hot", number) for number in range(30)])
    subscription = await bus.subscribe(consumer.name, ["code-changed"], consumer._load_positions)
    await consumer.step(subscription, wait=0)
    assert len(await rows(database, parked)) == 30

    await asyncio.sleep(0.02)
    await consumer.step(subscription, wait=0)

    assert [effect.number for effect in await effects(database)] == list(range(30))
    await subscription.close()


async def test_a_stopped_consumer_leaves_the_rest_of_its_batch(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([OutgoingRecord("code-changed", "a", {}, b"junk") for _ in range(10)])
    impatient = RetryPolicy(delays=(0.01,), poison_limit=3)
    consumer = Consumer("probe.worker", HANDLERS, database, bus, Metrics(), retry_policy=impatient)

    async with asyncio.timeout(60):
        await consumer.run()

    assert len(await rows(database, dead_letters)) == 3
    again = service.consumer(database, bus)
    await handle_all(again, bus)
    assert len(await rows(database, dead_letters)) == 10


async def test_a_repeated_record_behind_a_parked_one_has_no_second_effect(
    database: Database, bus: SqliteBus
) -> None:
    store = Store(failures=2)
    await bus.publish([code_changed("a", 1), code_changed("a", 2), code_changed("a", 1)])

    consumer = service.consumer(database, bus, {CodeChanged: store.on_code_changed})
    await handle_all(consumer, bus, rounds=3)

    assert await effects(database) == [Effect("a", 1), Effect("a", 2)]
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(parked)) == 0

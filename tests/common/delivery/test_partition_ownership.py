"""Several members of a group: one that lost a partition undoes nothing and repeats nothing."""

import asyncio

import pytest
import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.interface import Subscription
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.bus.topics import partition_of, partitions_of, topic_of
from loopwright_common.cloudevents.codec import OutgoingRecord, Record
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import parked, positions
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.delivery.partition_ownership import FencedError
from loopwright_common.delivery.retry_queue import RetryQueue
from loopwright_common.events import CodeChanged, Event
from loopwright_common.observability.metrics import Metrics
from tests.common.delivery.test_consumer import code_changed, rows
from tests.common.delivery_harness import Faulty, catch_up, joined
from tests.common.probe import service
from tests.common.probe.service import Effect, effects

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


async def test_a_member_that_was_displaced_moves_nothing_back_and_repeats_nothing(
    database: Database, bus: SqliteBus
) -> None:
    old, new = service.consumer(database, bus), service.consumer(database, bus)
    await bus.publish([code_changed("a", number) for number in range(3)])
    zombie = await apart(old, bus)
    in_hand = await zombie.fetch(1, 0)
    async with joined(new, bus) as owner:
        await catch_up(new, owner)
    reached = await rows(database, positions)

    async with joined(old, bus):
        with pytest.raises(FencedError, match="another member goes on"):
            await old._handle(in_hand)

    assert await rows(database, positions) == reached
    assert await effects(database) == [Effect("a", number) for number in range(3)]


async def apart(member: Consumer, bus: SqliteBus) -> Subscription:
    """A member in a group of its own, so that nobody tells it of the others."""
    return await bus.subscribe(f"group-{id(member)}", member.topics, member._load_positions)


async def test_two_members_that_both_think_they_own_everything_do_each_event_once_in_order(
    database: Database, bus: SqliteBus
) -> None:
    members = [service.consumer(database, bus) for _ in range(2)]
    seats = [await apart(member, bus) for member in members]
    for start in range(0, 40, 10):
        batch = [code_changed(f"k{number % 3}", number) for number in range(start, start + 10)]
        await bus.publish(batch)
        steps = zip(members, seats, strict=True)
        await asyncio.gather(*(catch_up(member, seat) for member, seat in steps))
    for member, seat in zip(members, seats, strict=True):
        for _ in range(20):
            await member.step(seat, wait=0)

    done = await effects(database)
    assert sorted(effect.number for effect in done) == list(range(40))
    for key in ("k0", "k1", "k2"):
        numbers = [effect.number for effect in done if effect.key == key]
        assert numbers == sorted(numbers)


@ON_POSTGRESQL
async def test_two_members_with_the_same_record_at_once_do_it_once(
    database: Database, bus: SqliteBus
) -> None:
    """The second waits for the first's claim, and for its end; one of them stores the position."""
    both_in = asyncio.Barrier(2)

    async def slow(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        await service.on_code_changed(event, uow)
        await asyncio.sleep(0.2)

    members = [service.consumer(database, bus, {CodeChanged: slow}) for _ in range(2)]
    await bus.publish([code_changed("a", 1)])
    seats = [await apart(member, bus) for member in members]

    async def step(number: int) -> None:
        records = await seats[number].fetch(10, 0)
        await both_in.wait()
        await asyncio.gather(members[number]._handle(records), return_exceptions=True)

    await asyncio.gather(step(0), step(1))
    await catch_up(members[0], seats[0])

    assert await effects(database) == [Effect("a", 1)]


async def test_what_one_member_parked_its_successor_retries_in_order(
    database: Database, bus: SqliteBus
) -> None:
    store = Faulty()
    store.down = {"bad"}
    first, second = (
        service.consumer(database, bus, {CodeChanged: store.on_code_changed}) for _ in range(2)
    )
    await bus.publish([code_changed("bad", number) for number in range(4)])
    async with joined(first, bus) as one:
        await catch_up(first, one)
    await bus.publish([code_changed("bad", 4), code_changed("good", 5)])
    store.down.clear()
    await asyncio.sleep(0.05)

    async with joined(second, bus) as two:
        await catch_up(second, two)

    done = await effects(database)
    assert [e.number for e in done if e.key == "bad"] == list(range(5))
    assert Effect("good", 5) in done
    assert not await rows(database, parked)


async def test_a_member_leaves_the_parked_records_of_others_alone(
    database: Database, bus: SqliteBus
) -> None:
    store = Faulty()
    store.down = {f"k{number}" for number in range(9)}
    handlers: Handlers = {CodeChanged: store.on_code_changed}
    one, two = (service.consumer(database, bus, handlers) for _ in range(2))
    async with joined(one, bus) as first:
        await bus.publish([code_changed(f"k{number}", number) for number in range(9)])
        while len(await rows(database, parked)) < 9:
            await one.step(first, wait=0)
        async with joined(two, bus) as second:
            await two.step(second, wait=0)
            await one.step(first, wait=0)
            store.down.clear()
            await asyncio.sleep(0.05)
            await catch_up(two, second)
            left = {row.partition for row in await rows(database, parked)}
            theirs = {place.partition for place in first.assigned()}
            assert left == theirs
            await catch_up(one, first)

    assert len(await effects(database)) == 9


async def test_many_parked_keys_are_looked_at_a_few_at_a_time(
    database: Database, bus: SqliteBus
) -> None:
    consumer, parking = service.consumer(database, bus), RetryQueue("probe.worker")
    async with database.unit_of_work() as uow:
        for number in range(110):
            await parking.enqueue(uow, record(code_changed(f"k{number}", number)), 1, "away")
    async with database.read() as connection:
        heads = await parking.next_due(connection, partitions_of(["code-changed"]))
    async with joined(consumer, bus) as member:
        await catch_up(consumer, member)

    assert len(heads) == 100
    assert len(await effects(database)) == 110


def record(outgoing: OutgoingRecord) -> Record:
    partition = partition_of(topic_of(outgoing.topic), outgoing.key)
    return Record(outgoing.topic, partition, 1, outgoing.key, outgoing.headers, outgoing.value,
                  clock.now())  # fmt: skip


@ON_POSTGRESQL
async def test_a_deadlock_is_redone_and_parks_nothing(database: Database, bus: SqliteBus) -> None:
    faults = ["40P01", "40001"]

    async def unlucky(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        if faults:
            raise_it = f"DO $$ BEGIN RAISE SQLSTATE '{faults.pop()}'; END $$"
            await uow.connection.execute(sa.text(raise_it))
        await service.on_code_changed(event, uow)

    consumer = service.consumer(database, bus, {CodeChanged: unlucky})
    await bus.publish([code_changed("a", 1)])
    async with joined(consumer, bus) as member:
        await consumer.step(member, wait=0)

    assert await effects(database) == [Effect("a", 1)]
    assert not await rows(database, parked)


async def test_partitions_are_handled_side_by_side_each_in_its_order(
    database: Database, bus: SqliteBus
) -> None:
    consumer = Consumer("probe.worker", service.HANDLERS, database, bus, Metrics(), sharing=False)
    await bus.publish([code_changed(f"k{number % 7}", number) for number in range(60)])
    async with joined(consumer, bus) as member:
        await catch_up(consumer, member)

    done = await effects(database)
    assert len(done) == 60
    for key in {effect.key for effect in done}:
        numbers = [effect.number for effect in done if effect.key == key]
        assert numbers == sorted(numbers)

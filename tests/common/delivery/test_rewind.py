"""Setting a consumer back: a reread fills holes, a rebuild begins anew; nothing is repeated."""

import asyncio
from contextlib import suppress

import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import inbox, outbox, parked
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.partition_ownership import FencedError
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.events import CodeChanged
from loopwright_common.observability.metrics import Metrics
from tests.common.delivery.test_consumer import code_changed, handle_all, rows
from tests.common.delivery_harness import Faulty, catch_up, joined, look, person_at
from tests.common.probe import service
from tests.common.probe.service import EFFECTS, Effect, effects

ALL = [Effect("a", number) for number in range(4)]


async def forget_effects(uow: UnitOfWork) -> None:
    await uow.connection.execute(sa.delete(EFFECTS))


def rebuildable(database: Database, bus: SqliteBus) -> Consumer:
    return Consumer("probe.worker", service.HANDLERS, database, bus, Metrics(),
                    reset=forget_effects)  # fmt: skip


async def lose_one(database: Database) -> None:
    """A hole: event a-2 is neither in the inbox nor has it any effect."""
    async with database.unit_of_work() as uow:
        await uow.connection.execute(sa.delete(EFFECTS).where(EFFECTS.c.number == 2))
        await uow.connection.execute(sa.delete(inbox).where(inbox.c.event_id == "a-2"))
        await uow.connection.execute(sa.delete(outbox))


async def test_a_reread_fills_holes_and_repeats_nothing(database: Database, bus: SqliteBus) -> None:
    consumer = service.consumer(database, bus)
    await bus.publish([code_changed("a", number) for number in range(4)])
    async with joined(consumer, bus) as member, person_at(database, consumer) as person:
        await catch_up(consumer, member)
        await lose_one(database)
        told = await person.post("/v1/consumers/probe.worker/reread", topic="code-changed")
        await bus.publish([code_changed("b", 9)])
        await look(consumer, member)
        await catch_up(consumer, member)

    assert [back["now"] for back in told["resets"]] == [0]
    assert sorted(await effects(database)) == [*ALL, Effect("b", 9)]
    assert len(await rows(database, outbox)) == 2


async def test_a_reread_begins_at_a_time_or_an_offset_and_never_ahead(
    database: Database, bus: SqliteBus
) -> None:
    consumer = service.consumer(database, bus)
    await bus.publish([code_changed("a", 0), code_changed("a", 1)])
    await asyncio.sleep(0.01)
    later = clock.to_text(clock.now())
    await bus.publish([code_changed("a", 2), code_changed("a", 3)])
    await handle_all(consumer, bus)
    path = "/v1/consumers/probe.worker/reread"
    async with person_at(database, consumer) as person:
        (place,) = (await person.get("/v1/consumers"))["items"][0]["partitions"]
        where = {"topic": "code-changed", "partition": place["partition"]}
        ahead = await person.post(path, **where, offset=place["end"] + 5)
        by_time = await person.post(path, topic="code-changed", since=later)
        by_offset = await person.post(path, **where, offset=1)
        await person.post(path, 422, topic="code-changed", offset=1)
        await person.post(path, 422, topic="drift-detected")
        await person.post("/v1/consumers/nobody/reread", 404, topic="code-changed")

    assert ahead["resets"] == []
    timed, given = by_time["resets"][0], by_offset["resets"][0]
    assert (timed["was"], given["was"], given["now"]) == (place["end"], timed["now"], 1)
    assert 1 < timed["now"] < place["end"]


async def test_a_running_consumer_takes_up_a_reread_at_once(
    database: Database, bus: SqliteBus
) -> None:
    consumer = service.consumer(database, bus)
    running = asyncio.create_task(consumer.run())
    await bus.publish([code_changed("a", number) for number in range(4)])
    await until(database, 4)
    await lose_one(database)
    async with person_at(database, consumer) as person:
        await person.post("/v1/consumers/probe.worker/reread", topic="code-changed")
    await until(database, 4)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert sorted(await effects(database)) == ALL


async def until(database: Database, wanted: int) -> None:
    async with asyncio.timeout(120):
        while len(await effects(database)) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_rebuild_derives_the_same_state_and_emits_nothing_again(
    database: Database, bus: SqliteBus
) -> None:
    consumer = rebuildable(database, bus)
    await bus.publish([code_changed("a", number) for number in range(4)])
    async with joined(consumer, bus) as member, person_at(database, consumer) as person:
        await catch_up(consumer, member)
        async with database.unit_of_work() as uow:
            await uow.connection.execute(sa.delete(outbox))
        await bus.publish([code_changed("b", 5)])
        for _ in range(2):
            await person.post("/v1/consumers/probe.worker/rebuild")
            await look(consumer, member)
            await catch_up(consumer, member)
        (shown,) = (await person.get("/v1/consumers"))["items"]

    assert sorted(await effects(database)) == [*ALL, Effect("b", 5)]
    # Only what had never been handled before the rebuild is told.
    assert [row.aggregateid for row in await rows(database, outbox)] == ["b"]
    assert (shown["generation"], shown["lag"], shown["can_be_rebuilt"]) == (2, 0, True)


async def test_a_rebuild_waits_for_parked_records_and_for_a_consumer_that_allows_it(
    database: Database, bus: SqliteBus
) -> None:
    store = Faulty()
    store.down = {"bad"}
    waiting = Consumer("probe.worker", {CodeChanged: store.on_code_changed}, database, bus,
                       Metrics(), retry_policy=RetryPolicy((60,)),
                       reset=forget_effects)  # fmt: skip
    await bus.publish([code_changed("bad", 1), code_changed("a", 0)])
    await handle_all(waiting, bus)
    async with person_at(database, waiting) as person:
        refused = await person.post("/v1/consumers/probe.worker/rebuild", 409)
    async with person_at(database, service.consumer(database, bus)) as person:
        never = await person.post("/v1/consumers/probe.worker/rebuild", 403)

    assert "1 records of probe.worker wait for another try" in refused["detail"]
    assert "cannot be rebuilt" in never["detail"]
    assert await effects(database) == [Effect("a", 0)]
    assert len(await rows(database, parked)) == 1


async def test_what_a_member_has_in_hand_while_it_is_set_back_is_dropped(
    database: Database, bus: SqliteBus
) -> None:
    consumer = rebuildable(database, bus)
    await bus.publish([code_changed("a", number) for number in range(4)])
    async with joined(consumer, bus) as member, person_at(database, consumer) as person:
        await consumer._handle(await member.fetch(2, 0))
        in_hand = await member.fetch(2, 0)
        await person.post("/v1/consumers/probe.worker/rebuild")
        with suppress(FencedError):
            await consumer._handle(in_hand)
        assert await effects(database) == []
        await look(consumer, member)
        await catch_up(consumer, member)

    assert await effects(database) == ALL

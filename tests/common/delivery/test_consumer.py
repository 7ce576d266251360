import asyncio
import time
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, outbox, parked
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.inbox import BoundTwoPhaseHandler, Handlers
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.errors import UnavailableError
from loopwright_common.events import CodeChanged, Event
from loopwright_common.observability.metrics import Metrics
from tests.common.probe import service
from tests.common.probe.service import HANDLERS, Effect, effects

STRANGE = {
    "ce_id": "1",
    "ce_source": "x",
    "ce_specversion": "1.0",
    "ce_type": "dev.loopwright.nonsense.v1",
}


def code_changed(key: str, number: int, event_id: str | None = None) -> OutgoingRecord:
    data = CodeChanged(repository=key, ref="refs/heads/main", commit=str(number))
    identity = event_id or f"{key}-{number}"
    return codec.encode(
        Event(
            id=identity,
            source="test",
            subject=f"repositories/{key}",
            time=clock.now(),
            key=key,
            chain_id=identity,
            causes=(),
            traceparent="",
            data=data,
        )
    )


async def handle_all(consumer: Consumer, bus: EventBus, rounds: int = 1) -> None:
    subscription = await bus.subscribe(consumer.name, ["code-changed"], consumer._load_positions)
    for _ in range(rounds):
        while await consumer.step(subscription, wait=0):
            pass
        await asyncio.sleep(0.02)
    await subscription.close()


async def rows(database: Database, table: sa.Table) -> Sequence[sa.Row[tuple[object, ...]]]:
    async with database.read() as connection:
        return (await connection.execute(sa.select(table))).all()


async def test_a_redelivered_event_has_one_effect(database: Database, bus: SqliteBus) -> None:
    await bus.publish([code_changed("a", 1), code_changed("a", 1)])

    await handle_all(service.consumer(database, bus), bus)

    assert await effects(database) == [Effect("a", 1)]


async def test_effects_emitted_events_and_position_commit_together(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([code_changed("a", 1)])
    await handle_all(service.consumer(database, bus), bus)

    emitted = await rows(database, outbox)
    assert [row.aggregatetype for row in emitted] == ["retrain-requested"]
    cause = codec.decode(
        OutgoingRecord("retrain-requested", "a", emitted[0].headers, emitted[0].payload)
    )
    assert cause.causes == ("a-1",)
    assert cause.chain_id == "a-1"


async def test_a_restarted_consumer_goes_on_where_it_stopped(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([code_changed("a", 1)])
    await handle_all(service.consumer(database, bus), bus)
    await bus.publish([code_changed("a", 2)])

    await handle_all(service.consumer(database, bus), bus)

    assert await effects(database) == [Effect("a", 1), Effect("a", 2)]


async def test_only_the_failing_key_waits_and_keeps_its_order(
    database: Database, bus: SqliteBus
) -> None:
    faults = [True, True]

    async def failing_twice(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        if event.key == "bad" and event.data.commit == "1" and faults:
            faults.pop()
            raise UnavailableError("store is away")
        await service.on_code_changed(event, uow)

    handlers: Handlers = {CodeChanged: failing_twice}
    await bus.publish([code_changed("bad", 1), code_changed("bad", 2), code_changed("good", 1)])

    await handle_all(service.consumer(database, bus, handlers), bus, rounds=4)

    done = await effects(database)
    assert sorted(done) == [Effect("bad", 1), Effect("bad", 2), Effect("good", 1)]
    assert [effect for effect in done if effect.key == "bad"] == [
        Effect("bad", 1),
        Effect("bad", 2),
    ]
    assert not await rows(database, parked)


async def test_a_record_that_keeps_failing_goes_to_the_dead_letters_with_its_reason(
    database: Database, bus: SqliteBus
) -> None:
    async def always_failing(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        raise ValueError("no such luck")

    await bus.publish([code_changed("a", 1)])
    await handle_all(service.consumer(database, bus, {CodeChanged: always_failing}), bus, rounds=6)

    (letter,) = await rows(database, dead_letters)
    assert letter.error == "ValueError: no such luck"
    assert letter.attempts == 4
    assert letter.value == code_changed("a", 1).value
    assert not await rows(database, parked)


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ({}, b"{}", "no attribute id"),
        (STRANGE, b"{}", "unknown event type"),
        ({"content-type": "application/cloudevents+json"}, b"\xff\x00", "not a structured"),
    ],
)  # fmt: skip
async def test_bytes_that_are_no_event_are_buried_and_the_partition_continues(
    database: Database, bus: SqliteBus, headers: dict[str, str], value: bytes, reason: str
) -> None:
    await bus.publish([OutgoingRecord("code-changed", "a", headers, value), code_changed("a", 2)])

    await handle_all(service.consumer(database, bus), bus)

    (letter,) = await rows(database, dead_letters)
    assert reason in letter.error
    assert await effects(database) == [Effect("a", 2)]


async def test_an_event_that_breaks_its_schema_names_the_field(
    database: Database, bus: SqliteBus
) -> None:
    good = code_changed("a", 1)
    await bus.publish([OutgoingRecord(good.topic, good.key, good.headers, b'{"repository": "a"}')])

    await handle_all(service.consumer(database, bus), bus)

    (letter,) = await rows(database, dead_letters)
    assert "ref: Field required" in letter.error


async def test_a_consumer_stops_rather_than_empty_the_topic(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([OutgoingRecord("code-changed", str(n), {}, b"junk") for n in range(10)])
    impatient = RetryPolicy(delays=(0.01,), poison_limit=3)
    consumer = Consumer(
        "probe.worker", HANDLERS, database, bus, Metrics(), batch=1, retry_policy=impatient
    )

    async with asyncio.timeout(60):
        await consumer.run()

    assert consumer.stopped is not None
    assert len(await rows(database, dead_letters)) == 3


async def test_two_members_of_a_group_share_the_work(database: Database, bus: SqliteBus) -> None:
    first, second = service.consumer(database, bus), service.consumer(database, bus)
    one = await bus.subscribe("g", ["code-changed"], first._load_positions)
    two = await bus.subscribe("g", ["code-changed"], second._load_positions)
    assert one.assigned().isdisjoint(two.assigned())
    assert len(one.assigned() | two.assigned()) == 3

    await bus.publish([code_changed(f"k{n}", n) for n in range(20)])
    while await first.step(one, 0) + await second.step(two, 0):
        pass
    await one.close()

    assert len(two.assigned()) == 3
    assert sorted(effect.number for effect in await effects(database)) == list(range(20))


async def test_a_prepared_handler_works_outside_the_transaction(
    database: Database, bus: SqliteBus
) -> None:
    async def prepare(event: Event[CodeChanged]) -> int:
        return len(await effects(database)) + int(event.data.commit)

    async def apply(event: Event[CodeChanged], value: int, uow: UnitOfWork) -> None:
        await uow.connection.execute(sa.insert(service.EFFECTS).values(key=event.key, number=value))

    await bus.publish([code_changed("a", 41)])
    await handle_all(
        service.consumer(database, bus, {CodeChanged: BoundTwoPhaseHandler(prepare, apply)}), bus
    )

    assert await effects(database) == [Effect("a", 41)]


EVENTS = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5)]


async def test_slow_records_share_no_long_transaction(
    database: Database, bus: SqliteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright_common.delivery.consumer._TOGETHER_SECONDS", 0.05)
    transactions: list[UnitOfWork] = []
    slow_ones: list[UnitOfWork] = []

    async def slow(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        transactions.append(uow)
        if event.data.commit >= "2":
            slow_ones.append(uow)
            time.sleep(0.02)  # noqa: ASYNC251 - a handler computes

    consumer = Consumer("probe.worker", {CodeChanged: slow}, database, bus, Metrics())
    await bus.publish(
        [code_changed("a", number) for number in (*range(100, 140), *range(200, 240))]
    )
    await handle_all(consumer, bus)

    sizes = [transactions.count(one) for one in dict.fromkeys(transactions)]
    assert sum(sizes) == 80
    assert sizes[0] == 1
    # The first with slow records was as large as quick ones may be.
    later = [slow_ones.count(one) for one in dict.fromkeys(slow_ones)][1:]
    assert later
    assert max(later) <= 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_records_that_waited_for_the_database_still_share_transactions(
    database: Database, bus: SqliteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one whose turn comes late handles ever fewer at a time, and comes ever later."""
    monkeypatch.setattr("loopwright_common.delivery.consumer._TOGETHER_SECONDS", 0.5)
    transactions: list[UnitOfWork] = []

    async def note(_event: Event[CodeChanged], uow: UnitOfWork) -> None:
        transactions.append(uow)

    async def write_slowly() -> None:
        while True:
            async with database.unit_of_work():
                time.sleep(0.6)  # noqa: ASYNC251 - another has the connection

    consumer = Consumer("probe.worker", {CodeChanged: note}, database, bus, Metrics())
    await bus.publish([code_changed("a", number) for number in range(100, 131)])
    rival = asyncio.create_task(write_slowly())
    await handle_all(consumer, bus)
    rival.cancel()
    await asyncio.wait([rival])

    sizes = [transactions.count(one) for one in dict.fromkeys(transactions)]
    assert sum(sizes) == 31
    assert max(sizes) > 4


@given(st.permutations(EVENTS * 3), st.integers(1, 32), st.booleans())
def test_order_and_repetition_of_deliveries_do_not_matter(
    deliveries: list[tuple[str, int]], batch: int, sharing: bool
) -> None:
    assert asyncio.run(effects_after(deliveries, batch, sharing)) == {
        Effect(*event) for event in EVENTS
    }


async def effects_after(
    deliveries: list[tuple[str, int]], batch: int, sharing: bool
) -> set[Effect]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        database = await service.open_database(f"sqlite:///{place}")
        bus = await SqliteBus.open(Path(place))
        await bus.publish([code_changed(key, number) for key, number in deliveries])
        consumer = Consumer(
            "probe.worker", HANDLERS, database, bus, Metrics(), batch=batch, sharing=sharing
        )
        await handle_all(consumer, bus)
        done = await effects(database)
        told = [row.id for row in await rows(database, outbox)]
        await bus.close()
        await database.close()
    assert len(done) == len(told) == len(EVENTS)
    return set(done)


async def test_what_a_handler_logs_names_its_event_and_chain(
    database: Database, bus: SqliteBus
) -> None:
    seen: list[dict[str, object]] = []

    async def logging_handler(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        seen.append(structlog.contextvars.get_contextvars())

    await bus.publish([code_changed("a", 1)])
    await handle_all(service.consumer(database, bus, {CodeChanged: logging_handler}), bus)

    assert seen == [{"event_id": "a-1", "chain_id": "a-1"}]

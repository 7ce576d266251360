"""A consumer that does not get on says so, and is begun anew; what is asked costs nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest

from loopwright_common.bus.interface import LoadPositions, Subscription
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.bus.sqlite.subscription import SqliteSubscription
from loopwright_common.cloudevents.codec import Record
from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery import consumer as consumers
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.events import CodeChanged, Event
from loopwright_common.observability.metrics import Metrics
from tests.common.delivery.test_consumer import code_changed, handle_all
from tests.common.delivery.test_rewind import until
from tests.common.delivery_harness import Faulty, joined, junk, look, person_at
from tests.common.probe import service
from tests.common.probe.service import Effect, effects


class Deaf(SqliteSubscription):
    """A member that hears nothing any more, as a client that stopped without a word."""

    async def fetch(self, most: int, wait: float) -> list[Record]:  # noqa: ARG002
        await asyncio.sleep(3600)
        return []


class Unlucky(SqliteBus):
    """A bus whose first member is deaf."""

    joined = 0

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        given = await super().subscribe(group, topics, load_positions)
        self.joined += 1
        if self.joined == 1:
            given.__class__ = Deaf
        return given


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> RetryPolicy:
    monkeypatch.setattr(consumers, "_CHECK_SECONDS", 0.05)
    return RetryPolicy(stalled_after=0.1, rejoin_after=0.6)


async def test_a_consumer_that_stands_still_is_unready_and_then_begun_anew(
    database: Database, bus: SqliteBus, hasty: RetryPolicy
) -> None:
    bus.__class__ = Unlucky
    consumer = Consumer(
        "probe.worker", service.HANDLERS, database, bus, Metrics(), retry_policy=hasty
    )
    await bus.publish([code_changed("a", 1)])
    async with person_at(database, consumer) as person:
        running = asyncio.create_task(consumer.run())
        async with asyncio.timeout(120):
            while (trouble := consumer.trouble()) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            unready = await person.get("/readyz", 503)
            await person.get("/livez")
        await until(database, 1)
        async with asyncio.timeout(120):
            while consumer.trouble():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        ready = await person.get("/readyz")
    await stop(running)

    assert "no progress for" in trouble
    assert unready["checks"]["consumers"].startswith("probe.worker: no progress")
    assert ready["checks"]["consumers"] == "ok"
    assert await effects(database) == [Effect("a", 1)]


async def stop(task: asyncio.Task[None]) -> None:
    """Within seconds, whatever it has in hand."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        async with asyncio.timeout(15):
            await task


async def test_a_stopped_consumer_rolls_back_what_it_has_in_hand(
    database: Database, bus: SqliteBus
) -> None:
    inside = asyncio.Event()

    async def slow(event: Event[CodeChanged], uow: UnitOfWork) -> None:
        await service.on_code_changed(event, uow)
        inside.set()
        while True:
            await uow.connection.execute(sa.select(1))

    consumer = service.consumer(database, bus, {CodeChanged: slow})
    await bus.publish([code_changed("a", 1)])
    running = asyncio.create_task(consumer.run())
    await inside.wait()
    await stop(running)

    await handle_all(service.consumer(database, bus), bus)
    assert await effects(database) == [Effect("a", 1)]


async def test_metrics_and_the_list_tell_what_waits_where(
    database: Database, bus: SqliteBus
) -> None:
    store, metrics = Faulty(), Metrics()
    store.down = {"bad"}
    consumer = Consumer("probe.worker", {CodeChanged: store.on_code_changed}, database, bus,
                        metrics, retry_policy=RetryPolicy(delays=(60,)))  # fmt: skip
    await bus.publish(
        [code_changed("bad", 1), code_changed("bad", 2), code_changed("a", 3), junk(1)]
    )
    async with joined(consumer, bus) as member, person_at(database, consumer) as person:
        while await consumer.step(member, wait=0):
            pass
        await bus.publish([code_changed("a", 4)])
        await look(consumer, member)
        (shown,) = (await person.get("/v1/consumers"))["items"]

    exported = generate_latest(metrics.registry).decode()
    assert 'loopwright_parked_keys{consumer="probe.worker"} 1.0' in exported
    assert 'loopwright_dlq_depth{consumer="probe.worker"} 1.0' in exported
    assert 'loopwright_event_end_to_end_seconds_count{consumer="probe.worker"} 1.0' in exported
    assert 'outcome="parked",topic="code-changed"} 2.0' in exported
    assert shown["lag"] > 0
    assert f'topic="code-changed"}} {shown["lag"]:.1f}' in exported
    assert (shown["parked_keys"], shown["dead_letters"], shown["trouble"]) == (1, 1, None)
    assert shown["last_handled_at"]

"""The outbox on PostgreSQL: positions follow commits, and one replica at a time publishes."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from structlog.testing import capture_logs

from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.errors import TooLargeError, UnavailableError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import delivery_readiness
from loopwright_common.web.app import create_app
from tests.common.bus_harness import read_everything, until
from tests.common.delivery.test_consumer import rows
from tests.common.probe import service
from tests.common.replica_processes import replicas, verdict_on

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@asynccontextmanager
async def telling(database: Database, key: str, number: int) -> AsyncGenerator[None, None]:
    """A transaction that has told and, within the block, has not committed yet."""
    async with database.unit_of_work() as uow:
        await service.emit(uow, key, number)
        await uow.finish()
        yield


async def told(bus: EventBus) -> list[str]:
    """The keys of what was published."""
    return [record.key for record in await read_everything(bus)]


@on_postgresql
async def test_of_one_key_the_second_waits_until_the_first_has_committed(
    database: Database,
) -> None:
    async with telling(database, "a", 1):
        second = asyncio.create_task(service.tell(database, "a", 2))
        await asyncio.wait([second], timeout=0.3)
        assert not second.done()
        await service.tell(database, "b", 3)
    await second

    by_position = sorted(await rows(database, outbox), key=lambda row: row.position)
    assert [row.payload.count(b'"commit":"1"') for row in by_position] == [1, 0, 0]


@on_postgresql
async def test_keys_that_commit_in_another_order_than_they_began_are_all_published(
    database: Database, bus: SqliteBus
) -> None:
    relay = OutboxRelay(database, bus, Metrics())
    async with telling(database, "early", 1):
        await service.tell(database, "late", 2)
        assert await relay.publish_some() == 1
    assert await relay.publish_some() == 1

    assert sorted(await told(bus)) == ["early", "late"]


@on_postgresql
async def test_transactions_that_tell_of_the_same_keys_crosswise_do_not_deadlock(
    database: Database,
) -> None:
    async def tell(keys: Sequence[str]) -> None:
        async with database.unit_of_work() as uow:
            for number, key in enumerate(keys):
                await service.emit(uow, key, number)

    keys = [f"key-{number}" for number in range(30)]
    await asyncio.gather(*(tell(keys[::step]) for step in (1, -1) * 10))

    assert len(await rows(database, outbox)) == 20 * len(keys)


class WatchedLog:
    """A log that is slow, and knows how many publish to it at the same time."""

    def __init__(self, log: SqliteBus) -> None:
        self._log = log
        self._publishing = 0
        self.most = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        self._publishing += 1
        self.most = max(self.most, self._publishing)
        await asyncio.sleep(0.005)
        await self._log.publish(records)
        self._publishing -= 1


@on_postgresql
async def test_of_several_replicas_one_at_a_time_publishes_and_nothing_is_published_twice(
    database_url: str, bus: SqliteBus
) -> None:
    watched = WatchedLog(bus)
    async with replicas(database_url, watched) as made:  # type: ignore[arg-type]
        await asyncio.gather(*(replica.tell(100) for replica in made))
        verdict = await verdict_on(made)
        published = await told(bus)

    assert verdict.clean, verdict
    assert (watched.most, len(published)) == (1, verdict.told)


@on_postgresql
async def test_a_replica_takes_over_from_one_that_hangs_with_its_connection_cut(
    database_url: str, bus: SqliteBus
) -> None:
    one = await service.open_database(database_url)
    other = await service.open_database(database_url)
    await service.tell(one, "a", 1)
    async with one.advisory_lock("relay") as held:
        await cut_the_connection_of(held)
        async with asyncio.timeout(60), other.advisory_lock("relay") as database:
            assert await OutboxRelay(other, bus, Metrics()).publish_some(database) == 1
        with pytest.raises(UnavailableError, match="held the lock"):
            await OutboxRelay(one, bus, Metrics()).publish_some(held)

    assert await told(bus) == ["a"]
    assert await service.waiting(one) == 0
    await one.close()
    await other.close()


async def cut_the_connection_of(database: Database) -> None:
    with pytest.raises(UnavailableError):
        async with database.read() as connection:
            await connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


class Choosy:
    """A bus that takes no record of one key."""

    def __init__(self, log: SqliteBus) -> None:
        self._log = log

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        if any(record.key == "poison" for record in records):
            raise TooLargeError("the broker takes no record so large")
        await self._log.publish(records)


async def test_a_record_that_the_bus_refuses_shows_in_readiness_and_metrics(
    database: Database, bus: SqliteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright_common.process.service._RELAY_LAG", timedelta())
    for number, key in enumerate(["a", "b", "poison", "c"]):
        await service.tell(database, key, number)
    metrics = Metrics()
    relay = OutboxRelay(database, Choosy(bus), metrics)  # type: ignore[arg-type]
    with capture_logs():
        running = asyncio.create_task(relay.run())
        await until(lambda: is_waiting(database, 2))
        unready = await readiness(database, metrics)
        running.cancel()

    assert "the oldest of 2" in unready
    assert unready.endswith("the broker takes no record so large")
    assert sorted(await told(bus)) == ["a", "b"]
    assert metrics.registry.get_sample_value("loopwright_outbox_pending") == 4
    assert (metrics.registry.get_sample_value("loopwright_outbox_oldest_age_seconds") or 0) > 0


async def is_waiting(database: Database, count: int) -> bool:
    return await service.waiting(database) == count


async def readiness(database: Database, metrics: Metrics) -> str:
    transport = httpx.ASGITransport(create_app("p", metrics, delivery_readiness(database, [])))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return str((await http.get("/readyz")).json()["checks"]["relay"])

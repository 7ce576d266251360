"""Every record on a topic, good or bad, meets the handlers of every service that reads it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from loopwright.embedded import composed
from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, parked
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.events import TOPICS
from loopwright_common.process.service import Service
from loopwright_trainer.runs.service import add_repository
from tests.contract.records import (
    every_golden,
    golden,
    of_unknown_type,
    schema_breaking,
    undecodable,
)
from tests.holding import Watch, watching

Letters = Sequence[sa.Row[Any]]


@dataclass(frozen=True, slots=True)
class Readers:
    """All that reads events in the composed system; its workers do not run."""

    services: Sequence[Service]
    consumers: Sequence[Consumer]
    tables: Sequence[TableReader[Any]]

    @property
    def bus(self) -> EventBus:
        return self.consumers[0]._bus

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """And let every reader come to the end."""
        await self.bus.publish(records)
        for consumer in self.consumers:
            names = consumer.topics
            subscription = await self.bus.subscribe(consumer.name, names, consumer._load_positions)
            while await consumer.step(subscription, wait=0):
                pass
            await subscription.close()

    async def rows(self, table: sa.Table, consumer: Consumer) -> Letters:
        query = sa.select(table).where(table.c.consumer == consumer.name)
        async with consumer._database.read() as connection:
            return (await connection.execute(query)).all()

    def database(self, service: str) -> Database:
        return next(c._database for c in self.consumers if c.name.startswith(service))


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncGenerator[Readers, None]:
    async with composed(tmp_path) as services:
        owners = [getattr(loop, "__self__", None) for s in services for loop in s.loops]
        yield Readers(
            services,
            [owner for owner in owners if isinstance(owner, Consumer)],
            [owner for owner in owners if isinstance(owner, TableReader)],
        )


async def watched_publish(readers: Readers, records: Sequence[OutgoingRecord]) -> Watch:
    with watching() as watch:
        await asyncio.create_task(readers.publish(records))
    return watch


async def test_every_golden_record_is_handled_by_all_who_read_it(readers: Readers) -> None:
    async with readers.database("trainer").unit_of_work() as uow:
        await add_repository(uow, "bank", "file:///nowhere", "main")

    watch = await watched_publish(readers, every_golden())

    for consumer in readers.consumers:
        assert await readers.rows(dead_letters, consumer) == []
        assert await readers.rows(parked, consumer) == []
    assert watch.faults == []
    assert watch.transactions > len(readers.consumers)


async def test_a_bad_record_is_a_dead_letter_with_its_reason_and_the_partition_goes_on(
    readers: Readers,
) -> None:
    bad = [undecodable, schema_breaking, of_unknown_type]
    for topic in TOPICS:
        await readers.publish([*(made(topic) for made in bad), golden(topic)])

    for consumer in readers.consumers:
        letters = await readers.rows(dead_letters, consumer)
        for topic in consumer.topics:
            first, second, third = [letter.error for letter in letters if letter.topic == topic]
            assert "not a CloudEvent: no attribute id" in first
            assert f"UndecodableError: {topic}: " in second
            assert f"unknown event type 'dev.loopwright.{topic}.v99'" in third
        assert consumer.stopped is None


async def test_tables_skip_bad_records_and_keep_the_good(readers: Readers) -> None:
    for table in readers.tables:
        topic = table._payload.topic
        bad = [undecodable(topic), schema_breaking(topic), of_unknown_type(topic)]
        await readers.publish([*bad, golden(topic)])
        task = asyncio.create_task(table.run())
        await table.ready.wait()
        task.cancel()

        assert [event.key for event in table.rows.values()] == [golden(topic).key]


async def test_every_service_with_a_database_shows_its_dead_letters(readers: Readers) -> None:
    await readers.publish([undecodable(topic) for topic in TOPICS])

    shown: dict[str, int] = {}
    for service in readers.services:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.get("/v1/dead-letters")
            if answer.status_code == 200:
                shown[service.name] = len(answer.json()["items"])
    read = {c.name.partition(".")[0]: 0 for c in readers.consumers}
    for consumer in readers.consumers:
        read[consumer.name.partition(".")[0]] += len(consumer.topics)
    assert shown == read


def test_every_topic_is_read_by_somebody_or_archived() -> None:
    """A topic nobody reads would be tested by nothing above."""
    assert {name for name, topic in TOPICS.items() if not topic.archived} == {
        "inference-logged",
        "replica-reported",
        "rows-captured",
        "serving-measured",
    }

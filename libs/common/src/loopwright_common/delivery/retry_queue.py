"""Records that wait for another try: rows of `parked`, in order per consumer, topic and key.

Only the first of a key is due at some time; when it goes, the next one is due at once. Who adds or
removes holds the lock of the key, so that none is left behind without its turn.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.bus import TopicPartition
from loopwright_common.cloudevents import Record
from loopwright_common.database import UnitOfWork, parked

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ParkedRecord:
    """The first record of its key; those of the same key behind it wait for it."""

    position: int
    record: Record
    attempts: int
    due_at: datetime
    first_failed_at: datetime

    def is_due(self) -> bool:
        return self.due_at <= clock.now()


class RetryQueue:
    """The parked records of one consumer."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    async def blocked_keys(
        self, connection: AsyncConnection, records: Collection[Record]
    ) -> set[tuple[str, str]]:
        """Topic and key of those records whose key has one that waits."""
        key = (parked.c.topic, parked.c.key)
        wanted = sorted({(record.topic, record.key) for record in records})
        query = sa.select(*key).distinct()
        query = query.where(parked.c.consumer == self._consumer, sa.tuple_(*key).in_(wanted))
        return {(topic, key) for topic, key in await connection.execute(query)}

    async def enqueue(
        self, uow: UnitOfWork, record: Record, attempts: int, error: str, delay: float = 0
    ) -> None:
        """Behind all of its key; due after `delay` seconds if there is none."""
        await self._lock(uow, record)
        now = clock.now()
        waits = await uow.connection.scalar(self._first_of(record)) is not None
        await uow.connection.execute(
            sa.insert(parked).values(
                consumer=self._consumer,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                headers=dict(record.headers),
                value=record.value,
                time=record.time,
                attempts=attempts,
                due_at=None if waits else now + timedelta(seconds=delay),
                first_failed_at=now,
                error=error,
            )
        )

    async def next_due(
        self, connection: AsyncConnection, partitions: Collection[TopicPartition]
    ) -> list[ParkedRecord]:
        """The first of the keys in these partitions, those due soonest; not all if many."""
        here = sa.tuple_(parked.c.topic, parked.c.partition).in_(sorted(partitions))
        query = (
            sa.select(parked)
            .where(parked.c.consumer == self._consumer, parked.c.due_at.is_not(None), here)
            .order_by(parked.c.due_at, parked.c.position)
            .limit(_AT_ONCE)
        )
        return [_waiting(row) for row in await connection.execute(query)]

    async def postpone(
        self, uow: UnitOfWork, waiting: ParkedRecord, attempts: int, error: str, delay: float
    ) -> None:
        """Let the record be due again after `delay` seconds."""
        due_at = clock.now() + timedelta(seconds=delay)
        await uow.connection.execute(
            sa.update(parked)
            .where(parked.c.position == waiting.position)
            .values(attempts=attempts, due_at=due_at, error=error)
        )

    async def remove(self, uow: UnitOfWork, waiting: ParkedRecord) -> None:
        """It is the turn of the next one of its key."""
        await self._lock(uow, waiting.record)
        gone = sa.delete(parked).where(parked.c.position == waiting.position)
        await uow.connection.execute(gone)
        following = self._first_of(waiting.record).scalar_subquery()
        await uow.connection.execute(
            sa.update(parked).where(parked.c.position == following).values(due_at=clock.now())
        )

    def _first_of(self, record: Record) -> sa.Select[tuple[int | None]]:
        """The position of the first of the record's key, or NULL."""
        return sa.select(sa.func.min(parked.c.position)).where(
            parked.c.consumer == self._consumer,
            parked.c.topic == record.topic,
            parked.c.key == record.key,
        )

    async def _lock(self, uow: UnitOfWork, record: Record) -> None:
        await uow.lock(f"parked/{self._consumer}/{record.topic}/{record.key}")


async def count_records(connection: AsyncConnection, consumers: Sequence[str] = ()) -> int:
    """Records that wait for another try, or behind such a record."""
    query = sa.select(sa.func.count()).select_from(parked)
    if consumers:
        query = query.where(parked.c.consumer.in_(consumers))
    return await connection.scalar(query) or 0


def count_keys(consumer: str) -> sa.ScalarSelect[int]:
    """Keys that wait; as cheap as there are few of them, however many records."""
    query = sa.select(sa.func.count()).where(
        parked.c.consumer == consumer, parked.c.due_at.is_not(None)
    )
    return query.scalar_subquery()


def _waiting(row: sa.Row[tuple[object, ...]]) -> ParkedRecord:
    return ParkedRecord(
        row.position,
        Record(row.topic, row.partition, row.offset, row.key, row.headers, row.value, row.time),
        row.attempts,
        row.due_at,
        row.first_failed_at,
    )

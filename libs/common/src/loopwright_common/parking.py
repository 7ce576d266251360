"""Records that wait for another try: rows of `parked`, in order per consumer, topic and key."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.codec import Record
from loopwright_common.delivery_tables import parked


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first record of its key; those of the same key behind it wait for it."""

    position: int
    record: Record
    attempts: int
    due_at: datetime


class Parking:
    """The parked records of one consumer."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    async def holds_key_of(self, connection: AsyncConnection, record: Record) -> bool:
        same_key = sa.select(parked.c.position).where(
            parked.c.consumer == self._consumer,
            parked.c.topic == record.topic,
            parked.c.key == record.key,
        )
        return await connection.scalar(same_key.limit(1)) is not None

    async def add(
        self, connection: AsyncConnection, record: Record, attempts: int, error: str, delay: float
    ) -> None:
        """Behind all that waits already; due after `delay` seconds."""
        moment = clock.now()
        await connection.execute(
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
                due_at=moment + timedelta(seconds=delay),
                first_failed_at=moment,
                error=error,
            )
        )

    async def heads(self, connection: AsyncConnection) -> list[Waiting]:
        """The first of every key, oldest first."""
        firsts = (
            sa.select(sa.func.min(parked.c.position))
            .where(parked.c.consumer == self._consumer)
            .group_by(parked.c.topic, parked.c.key)
        )
        query = sa.select(parked).where(parked.c.position.in_(firsts)).order_by(parked.c.position)
        return [
            Waiting(
                row.position,
                Record(
                    row.topic, row.partition, row.offset, row.key, row.headers, row.value, row.time
                ),
                row.attempts,
                row.due_at,
            )
            for row in await connection.execute(query)
        ]


async def postpone(
    connection: AsyncConnection, waiting: Waiting, attempts: int, error: str, delay: float
) -> None:
    """Due again after `delay` seconds."""
    due_at = clock.now() + timedelta(seconds=delay)
    await connection.execute(
        sa.update(parked)
        .where(parked.c.position == waiting.position)
        .values(attempts=attempts, due_at=due_at, error=error)
    )


async def remove(connection: AsyncConnection, waiting: Waiting) -> None:
    await connection.execute(sa.delete(parked).where(parked.c.position == waiting.position))

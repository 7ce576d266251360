"""Records that no retry can help: kept with origin and reason, and published."""

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.codec import Record
from loopwright_common.delivery_tables import dead_letters, outbox, parked
from loopwright_common.ids import derived_id
from loopwright_common.sql import upsert
from loopwright_common.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Where a record came from, how often it was tried and why that did not help."""

    id: str
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str
    attempts: int
    error: str
    failed_at: datetime


async def bury(
    uow: UnitOfWork, consumer: str, record: Record, error: Exception, attempts: int
) -> None:
    """Keep the record and send it to `<consumer>.dead-letters`, in this transaction."""
    letter_id = derived_id(consumer, record.topic, record.partition, record.offset)
    reason = f"{type(error).__name__}: {error}"
    moment = clock.now()
    row: dict[str, Any] = {
        "id": letter_id,
        "consumer": consumer,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "headers": dict(record.headers),
        "value": record.value,
        "attempts": attempts,
        "error": reason,
        "failed_at": moment,
    }
    if not await upsert(uow.connection, dead_letters, row):
        return
    await uow.connection.execute(
        sa.insert(outbox).values(
            id=letter_id,
            aggregatetype=f"{consumer}.dead-letters",
            aggregateid=record.key,
            type="dead-letter",
            payload=record.value,
            headers=_with_origin(record, row),
            created_at=moment,
        )
    )
    uow.emitted += 1


def _with_origin(record: Record, row: dict[str, Any]) -> dict[str, str]:
    """The record's own headers, and where it failed and why."""
    kind = row["error"].partition(":")[0]
    return {
        **record.headers,
        "x-consumer": row["consumer"],
        "x-error": row["error"],
        "x-error-hash": hashlib.sha256(kind.encode()).hexdigest()[:16],
        "x-origin-topic": record.topic,
        "x-origin-partition": str(record.partition),
        "x-origin-offset": str(record.offset),
        "x-attempts": str(row["attempts"]),
        "x-failed-at": clock.to_text(row["failed_at"]),
    }


async def listed(connection: AsyncConnection, most: int, after: int) -> list[DeadLetter]:
    """The newest first, `after` of them left out."""
    wanted = [dead_letters.c[field.name] for field in fields(DeadLetter)]
    newest = (dead_letters.c.failed_at.desc(), dead_letters.c.id)
    query = sa.select(*wanted).order_by(*newest).limit(most).offset(after)
    return [DeadLetter(**row) for row in (await connection.execute(query)).mappings()]


async def count_parked(connection: AsyncConnection) -> int:
    """Records that wait for another try, or behind such a record."""
    query = sa.select(sa.func.count()).select_from(parked)
    return await connection.scalar(query) or 0

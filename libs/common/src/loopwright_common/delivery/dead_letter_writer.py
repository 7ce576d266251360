"""Giving a record up: kept among the dead letters with origin and reason, and published."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.cloudevents import OutgoingRecord, Record
from loopwright_common.database import UnitOfWork, dead_letters
from loopwright_common.errors import described
from loopwright_common.ids import derived_id


async def dead_letter(
    uow: UnitOfWork,
    consumer: str,
    record: Record,
    error: Exception,
    *,
    attempts: int,
    first_failed_at: datetime | None = None,
) -> bool:
    """Keep the record and send it to `<consumer>.dead-letters`, in this transaction.

    False when it was a dead letter before: one that was replayed is dead again, one that was
    discarded stays so.
    """
    now = clock.now()
    row: dict[str, Any] = {
        "id": derived_id(consumer, record.topic, record.partition, record.offset),
        "consumer": consumer,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "headers": dict(record.headers),
        "value": record.value,
        "time": record.time,
        "attempts": attempts,
        "error": described(error),
        "code_version": version("loopwright-common"),
        "first_failed_at": first_failed_at or now,
        "failed_at": now,
    }
    times = await _keep(uow.connection, row)
    if times is not None:
        _publish(uow, record, row, times)
    return times == 1


async def _keep(connection: AsyncConnection, row: Mapping[str, Any]) -> int | None:
    """How often it has been buried, or None if nothing changes: it is dead or discarded."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(dead_letters).values(**row)
    again = {name: new.excluded[name] for name in ("error", "code_version", "failed_at", "state")}
    again["attempts"] = dead_letters.c.attempts + new.excluded.attempts
    again["burials"] = dead_letters.c.burials + 1
    kept = new.on_conflict_do_update(
        index_elements=["id"], set_=again, where=dead_letters.c.state == "replayed"
    )
    times: int | None = await connection.scalar(kept.returning(dead_letters.c.burials))
    return times


def _publish(uow: UnitOfWork, record: Record, row: Mapping[str, Any], times: int) -> None:
    topic = f"{row['consumer']}.dead-letters"
    letter = OutgoingRecord(topic, record.key, _with_origin(record, row), record.value)
    letter_id = row["id"] if times == 1 else derived_id(row["id"], times)
    uow.send(letter_id, letter, "dead-letter", row["failed_at"])


def _with_origin(record: Record, row: Mapping[str, Any]) -> dict[str, str]:
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

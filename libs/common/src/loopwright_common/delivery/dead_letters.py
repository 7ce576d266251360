"""Records that no retry can help: kept with origin and reason, and published.

A dead letter is `dead` until a person decides: `replayed` (its consumer handles it once more; if
that fails it is dead again) or `discarded`, with a reason. None is ever deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.cloudevents import Record
from loopwright_common.database import UnitOfWork, dead_letters
from loopwright_common.delivery.retry_queue import RetryQueue
from loopwright_common.errors import ConflictError, InvalidError, NotFoundError

_AT_ONCE = 500
_NEWEST_FIRST = sa.tuple_(dead_letters.c.failed_at, dead_letters.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Where a record came from, how often it was tried, why that did not help, what was decided."""

    id: str
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str
    attempts: int
    error: str
    code_version: str
    first_failed_at: datetime
    failed_at: datetime
    state: str
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterContents:
    """What the record of a dead letter holds."""

    headers: Mapping[str, str]
    value: bytes
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters: all that is not None must match."""

    consumer: str | None = None
    topic: str | None = None
    state: str | None = None


async def list_dead_letters(
    connection: AsyncConnection, which: DeadLetterFilter, limit: int, after: str | None
) -> list[DeadLetter]:
    """At most `limit` letters, newest first, from behind the one with the cursor `after`.

    InvalidError for a cursor that no page gave.
    """
    columns = [dead_letters.c[field.name] for field in fields(DeadLetter)]
    query = sa.select(*columns).where(*_matching(which))
    if after is not None:
        query = query.where(sa.tuple_(*_parse_cursor(after)) > _NEWEST_FIRST)
    newest = (dead_letters.c.failed_at.desc(), dead_letters.c.id.desc())
    rows = await connection.execute(query.order_by(*newest).limit(limit))
    return [DeadLetter(**row) for row in rows.mappings()]


def cursor_of(letter: DeadLetter) -> str:
    """What asks for the page behind this letter."""
    return f"{clock.to_text(letter.failed_at)}_{letter.id}"


async def get(connection: AsyncConnection, id: str) -> tuple[DeadLetter, DeadLetterContents]:
    """The letter whose id begins with `id`; NotFoundError, or ConflictError if several do."""
    query = sa.select(dead_letters).where(dead_letters.c.id.startswith(id, autoescape=True))
    rows = (await connection.execute(query.limit(2))).mappings().all()
    if not rows:
        raise NotFoundError(f"no dead letter {id}; see `loopwright dead-letters list`")
    if len(rows) > 1:
        raise ConflictError(f"several dead letters begin with {id}; give more of the id")
    (row,) = rows
    described, contents = (
        [field.name for field in fields(kind)] for kind in (DeadLetter, DeadLetterContents)
    )
    return (
        DeadLetter(**{name: row[name] for name in described}),
        DeadLetterContents(**{name: row[name] for name in contents}),
    )


async def replay(uow: UnitOfWork, id: str, by: str) -> DeadLetter:
    """Let its consumer handle the record once more, in the order of its key, as the same event.

    NotFoundError without such a letter, ConflictError for one that was decided about before.
    """
    await uow.lock("dead-letters")
    letter, held = await get(uow.connection, id)
    await _decide(uow, letter, "replayed", by, None)
    record = Record(letter.topic, letter.partition, letter.offset, letter.key, held.headers,
                    held.value, held.time)  # fmt: skip
    await RetryQueue(letter.consumer).enqueue(uow, record, 0, f"replayed by {by}")
    return (await get(uow.connection, letter.id))[0]


async def replay_some(uow: UnitOfWork, which: DeadLetterFilter, by: str, until: datetime) -> int:
    """Replay those that died before `until`, in the order of their topics; 0 when there is none."""
    await uow.lock("dead-letters")
    partition_order = (dead_letters.c.topic, dead_letters.c.partition, dead_letters.c.offset)
    query = sa.select(dead_letters.c.id).where(
        *_matching(which), dead_letters.c.state == "dead", dead_letters.c.failed_at < until
    )
    letter_ids = (
        await uow.connection.scalars(query.order_by(*partition_order).limit(_AT_ONCE))
    ).all()
    for letter_id in letter_ids:
        await replay(uow, letter_id, by)
    return len(letter_ids)


async def discard(uow: UnitOfWork, id: str, reason: str, by: str) -> DeadLetter:
    """Keep it as history: by whom, when and why it was given up.

    NotFoundError without such a letter, ConflictError for one that was decided about before.
    """
    letter, _ = await get(uow.connection, id)
    await _decide(uow, letter, "discarded", by, reason)
    return (await get(uow.connection, letter.id))[0]


async def _decide(
    uow: UnitOfWork, letter: DeadLetter, state: str, by: str, reason: str | None
) -> None:
    decided = (
        sa.update(dead_letters)
        .where(dead_letters.c.id == letter.id, dead_letters.c.state == "dead")
        .values(state=state, decided_at=clock.now(), decided_by=by, reason=reason)
    )
    if (await uow.connection.execute(decided)).rowcount != 1:
        raise ConflictError(
            f"dead letter {letter.id} was {letter.state} by {letter.decided_by} before; "
            "only one that is dead can be replayed or discarded"
        )


def _matching(which: DeadLetterFilter) -> list[sa.ColumnElement[bool]]:
    named = {
        dead_letters.c.consumer: which.consumer,
        dead_letters.c.topic: which.topic,
        dead_letters.c.state: which.state,
    }
    return [column == value for column, value in named.items() if value is not None]


def _parse_cursor(cursor: str) -> tuple[sa.ColumnElement[datetime], sa.ColumnElement[str]]:
    timestamp, _, letter_id = cursor.partition("_")
    try:
        failed_at = clock.from_text(timestamp)
    except ValueError:
        raise InvalidError(f"{cursor!r}: give the `next` of a page", field="after") from None
    return sa.literal(failed_at, dead_letters.c.failed_at.type), sa.literal(letter_id)


def count_dead(consumer: str) -> sa.ScalarSelect[int]:
    """A query for how many letters of the consumer nobody has decided about."""
    query = sa.select(sa.func.count()).where(
        dead_letters.c.state == "dead", dead_letters.c.consumer == consumer
    )
    return query.scalar_subquery()

"""What differs between SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    Table,
    any_,
    literal,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

T = TypeVar("T")
_LOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 0))"
    " FROM unnest(CAST(:names AS text[])) AS name"
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


async def lock_until_commit(connection: AsyncConnection, names: Sequence[str]) -> None:
    """Others that lock one of the names wait; SQLite runs one transaction at a time anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_LOCK, {"names": sorted(names)})


def in_values(
    connection: AsyncConnection, column: ColumnElement[T], values: Sequence[T]
) -> ColumnElement[bool]:
    """`column IN values`, on PostgreSQL as one statement to prepare, however many there are."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(values, postgresql.ARRAY(column.type)))
    return column.in_(values)


async def upsert(
    connection: AsyncConnection, table: Table, row: Mapping[str, Any], update: Sequence[str] = ()
) -> bool:
    """Insert by primary key; where the row exists, set the columns of `update` to the new values.

    Without `update` an existing row stays. Returns whether a row was written.
    """
    written = _upserting(connection, table, update).values(**row)
    return (await connection.execute(written)).rowcount == 1


async def upsert_all(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    update: Sequence[str] = (),
) -> None:
    """As `upsert`, of rows that all have the same columns."""
    if rows:
        await connection.execute(_upserting(connection, table, update), rows)


def _upserting(connection: AsyncConnection, table: Table, update: Sequence[str]) -> Any:
    statement: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    if not update:
        return statement.on_conflict_do_nothing(index_elements=keys)
    changes = {name: statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=keys, set_=changes)

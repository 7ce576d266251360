"""The few statements whose spelling differs between SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def upsert(
    connection: AsyncConnection, table: Table, row: Mapping[str, Any], update: Sequence[str] = ()
) -> bool:
    """Insert by primary key; where the row exists, set the columns of `update` to the new values.

    Without `update` an existing row stays. Returns whether a row was written.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    keys = [column.name for column in table.primary_key]
    statement = dialect.insert(table).values(**row)
    if update:
        changes = {name: statement.excluded[name] for name in update}
        written = statement.on_conflict_do_update(index_elements=keys, set_=changes)
    else:
        written = statement.on_conflict_do_nothing(index_elements=keys)
    return (await connection.execute(written)).rowcount == 1

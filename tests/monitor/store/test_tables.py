"""The migrations build what the queries expect."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import metadata as delivery
from loopwright_monitor.main import MIGRATIONS
from loopwright_monitor.store.tables import metadata


async def test_migrations_and_tables_agree(database_url: str) -> None:
    database = await Database.open(database_url, "monitor", MIGRATIONS)
    async with database.read() as connection:
        differences = await connection.run_sync(_differences)
    await database.close()

    assert differences == []


def _differences(connection: Connection) -> list[object]:
    others = {*delivery.tables, "alembic_version_monitor", "alembic_version_delivery"}
    context = MigrationContext.configure(
        connection,
        opts={"include_name": lambda name, kind, _: kind != "table" or name not in others},
    )
    return list(compare_metadata(context, metadata))

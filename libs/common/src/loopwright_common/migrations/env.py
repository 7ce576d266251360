"""Alembic environment shared by the services; run by `database.migrate` on an open connection."""

from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationInfo

connection = context.config.attributes["connection"]


def note(step: MigrationInfo, **_: Any) -> None:
    context.config.attributes["ran"].append(step.up_revision_id)


context.configure(
    connection=connection,
    on_version_apply=note,  # type: ignore[arg-type]  # it is called by keyword
    version_table=context.config.attributes["version_table"],
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

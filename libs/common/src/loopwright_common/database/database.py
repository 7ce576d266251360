"""A service's database behind one door: one transaction per use case."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from loopwright_common import clock
from loopwright_common.database import postgres
from loopwright_common.database.connections import ConnectionPool, create_engine
from loopwright_common.database.delivery_tables import leases, positions
from loopwright_common.database.dialect import lock_until_commit, upsert
from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.errors import UnavailableError, without_paths
from loopwright_common.failpoints import failpoint

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_DELIVERY = _MIGRATIONS / "delivery"
_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
"""Limits of the session; a migration may take longer, and so may what it imports in between."""


class Database:
    """Hands out units of work; `outbox_filled` wakes the relay after a commit that emitted."""

    def __init__(self, pool: ConnectionPool, service: str) -> None:
        self._pool = pool
        self.service = service
        self.migrated: list[str] = []
        """The migrations that ran when it was opened."""
        self.outbox_filled = asyncio.Event()
        self.outbox_fault: str | None = None
        """Why the relay could not publish, as long as it has not since."""
        self.fault: str | None = None
        """Why the last transaction failed, as long as none has committed since."""

    @classmethod
    async def open(cls, url: str, service: str, migrations: Path) -> "Database":
        """Connect and bring the schema up to date.

        `url` is `sqlite:///DIRECTORY` (one file per service in it) or `postgresql://...` (one
        schema per service, parameters as in `postgres`). Raises InvalidError when it is neither,
        UnavailableError when the database cannot be reached or is locked.
        """
        database = cls(ConnectionPool(create_engine(url, service)), service)
        try:
            async with database._pool.begin() as connection:
                await _prepare(connection, service)
                for versions, name in ((_DELIVERY, "delivery"), (migrations, service)):
                    database.migrated += await connection.run_sync(migrate, versions, name)
                if connection.dialect.name == "sqlite":
                    # The file belongs to this process, so whoever held a lease has died.
                    await connection.execute(update(leases).values(until=clock.now()))
        except DBAPIError as error:
            await database.close()
            raise UnavailableError(_not_opened(url, service, error)) from None
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def unit_of_work(self, cause: Cause | None = None) -> AsyncGenerator[UnitOfWork, None]:
        """Commit on a clean exit, roll back on any exception.

        Await nothing but the database inside: one held connection blocks the service.
        UnavailableError after a passing fault; when that met the commit itself, it may have been
        kept, so do again only what repeats without harm (as a consumer's inbox sees to).
        """
        async with self._faults(), self._pool.begin() as connection:
            uow = UnitOfWork(connection, f"loopwright/{self.service}", cause)
            yield uow
            await uow.finish()
            failpoint(f"{self.service}.before-commit")
        self.fault = None
        for wake in uow.after_commit:
            wake()
        if uow.emitted:
            failpoint(f"{self.service}.committed")
            self.outbox_filled.set()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection for queries only; UnavailableError after a passing fault."""
        async with self._faults(), self._pool.connect() as connection:
            yield connection

    @asynccontextmanager
    async def advisory_lock(self, name: str) -> AsyncGenerator["Database", None]:
        """One process of this service at a time is within; the others wait for it.

        Work through the database given: on PostgreSQL it is the connection that holds the lock, so
        whoever loses the lock cannot write either, and each statement there commits by itself.
        SQLite has one process anyway. UnavailableError after a passing fault.
        """
        if not self._pool.shared:
            yield self
            return
        lock = f"loopwright/{self.service}/{name}"
        async with self._faults(), self._pool.advisory_lock(lock) as held:
            yield Database(held, self.service)

    async def check(self) -> None:
        """UnavailableError when it does not answer or, after a fault, does not write."""
        if self.fault is None:
            async with self.read() as connection:
                await connection.execute(select(1))
            return
        row = {"consumer": "readiness", "topic": "", "partition": 0, "next_offset": 0}
        async with self.unit_of_work() as uow:
            await upsert(uow.connection, positions, row, update=("next_offset",))

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def _faults(self) -> AsyncGenerator[None, None]:
        try:
            yield
        except DBAPIError as error:
            if not postgres.is_transient(error):
                raise
            self.fault = f"database of {self.service}: {without_paths(error.orig or error)}"
            raise UnavailableError(self.fault) from error


async def _prepare(connection: AsyncConnection, service: str) -> None:
    """On PostgreSQL one replica migrates at a time, in the service's own schema."""
    if connection.dialect.name == "postgresql":
        for limit in _LIMITS:
            await connection.execute(text(f"SET LOCAL {limit} = 0"))
        await lock_until_commit(connection, [f"loopwright/migrations/{service}"])
        await connection.execute(CreateSchema(service, if_not_exists=True))


def _not_opened(url: str, service: str, error: DBAPIError) -> str:
    reason = f"database of {service}: {error.orig}"
    if url.startswith("sqlite"):
        return reason
    setting = f"LOOPWRIGHT_{service.upper()}_DATABASE_URL or LOOPWRIGHT_DATABASE_URL"
    address = postgres.address_of(make_url(url))
    return f"{reason} (PostgreSQL at {address}; start it, or mend {setting})"


def migrate(connection: Connection, versions: Path, name: str) -> list[str]:
    """Run the Alembic migrations in `versions`, recorded in a version table of their own.

    Returns those that had not run before.
    """
    # Imported where used: 11 MiB that a process without a database does not need.
    from alembic import command
    from alembic.config import Config

    ran: list[str] = []
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"alembic_version_{name}"
    config.attributes["ran"] = ran
    command.upgrade(config, "head")
    return ran

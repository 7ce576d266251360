"""A service's database: SQLite or PostgreSQL behind one door, one transaction per use case.

SQLite before 3.51.3 can corrupt a WAL database that several connections write, so a file has one
connection, held exclusively, with every commit synced.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from loopwright_common.delivery_tables import positions
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_common.sql import upsert
from loopwright_common.unit_of_work import Cause, UnitOfWork

_MIGRATIONS = Path(__file__).parent / "migrations"
_closing: set[asyncio.Future[None]] = set()
"""The loop itself keeps no hold of its tasks."""
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "mmap_size=0",
    "foreign_keys=ON",
)


class Database:
    """Hands out units of work; `outbox_filled` wakes the relay after a commit that emitted."""

    def __init__(self, engine: AsyncEngine, service: str) -> None:
        self.engine = engine
        self.service = service
        self.outbox_filled = asyncio.Event()
        self.fault: str | None = None
        """Why the last transaction failed, as long as none has committed since."""

    @classmethod
    async def open(cls, url: str, service: str, migrations: Path) -> "Database":
        """Connect and bring the schema up to date.

        `url` is `sqlite:///DIRECTORY` (one file per service in it) or `postgresql://...` (one
        schema per service). Raises UnavailableError when it cannot be reached or is locked.
        """
        database = cls(create_engine(url, service), service)
        try:
            async with database.engine.begin() as connection:
                await connection.run_sync(migrate, _MIGRATIONS / "delivery", "delivery")
                await connection.run_sync(migrate, migrations, service)
        except DBAPIError as error:
            await database.close()
            raise UnavailableError(f"database of {service}: {error.orig}") from None
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def unit_of_work(self, cause: Cause | None = None) -> AsyncGenerator[UnitOfWork, None]:
        """Commit on a clean exit, roll back on any exception.

        Await nothing but the database inside: one held connection blocks the service.
        """
        async with self._faults(), connected(self.engine) as connection, connection.begin():
            uow = UnitOfWork(connection, f"loopwright/{self.service}", cause)
            yield uow
            failpoint(f"{self.service}.before-commit")
        self.fault = None
        for wake in uow.after_commit:
            wake()
        if uow.emitted:
            failpoint(f"{self.service}.committed")
            self.outbox_filled.set()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection for queries only."""
        async with self._faults(), connected(self.engine) as connection:
            yield connection

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
        await self.engine.dispose()

    @asynccontextmanager
    async def _faults(self) -> AsyncGenerator[None, None]:
        try:
            yield
        except DBAPIError as error:
            if not (isinstance(error, OperationalError) or error.connection_invalidated):
                raise
            self.fault = f"database of {self.service}: {error.orig}"
            raise UnavailableError(self.fault) from error


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection, None]:
    """A connection of the engine, closed at the end.

    A caller cancelled while it opens leaves nothing behind: a connection that is never closed
    would keep the file locked.
    """
    opening = asyncio.ensure_future(_opened(engine))
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_give_back)
        raise
    try:
        yield connection
    finally:
        await asyncio.shield(asyncio.ensure_future(connection.close()))


async def _opened(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect().start()


def _give_back(opening: asyncio.Future[AsyncConnection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        closing = asyncio.ensure_future(opening.result().close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


def create_engine(url: str, name: str) -> AsyncEngine:
    """The engine for a service's database (`name` is the file or the schema)."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(Path(parsed.database or "."), name)
    if parsed.get_backend_name() == "postgresql":
        return create_async_engine(
            parsed.set(drivername="postgresql+asyncpg"),
            pool_pre_ping=True,
            connect_args={"server_settings": {"search_path": name}},
        )
    raise InvalidError(
        f"{url!r}: give sqlite:///DIRECTORY or postgresql://...", field="database_url"
    )


def _sqlite_engine(directory: Path, name: str) -> AsyncEngine:
    directory.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{directory / name}.db",
        pool_size=1,
        max_overflow=0,
        pool_timeout=30,
        json_serializer=lambda value: json.dumps(value, separators=(",", ":")),
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred and would fail to upgrade its lock under contention.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(connection: Connection, versions: Path, name: str) -> None:
    """Run the Alembic migrations in `versions`, recorded in a version table of their own."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"alembic_version_{name}"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
    command.upgrade(config, "head")

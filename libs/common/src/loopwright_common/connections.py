"""Connections to SQLite or PostgreSQL, given out one transaction at a time.

SQLite before 3.51.3 can corrupt a WAL database that several connections write, so a file has one
connection, held exclusively, with every commit synced.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from loopwright_common.errors import InvalidError

_PRAGMAS = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "mmap_size=0",
    "foreign_keys=ON",
)


class Connections:
    """Of one engine. A caller cancelled while one opens leaves none behind.

    A connection that nobody closes would keep its file locked.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._left: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection, closed at the end; what was not committed is rolled back."""
        opening = asyncio.create_task(self._opened())
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            giving_back = asyncio.create_task(_give_back(opening))
            self._left.add(giving_back)
            giving_back.add_done_callback(self._left.discard)
            raise
        try:
            yield connection
        finally:
            await asyncio.shield(asyncio.create_task(connection.close()))

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction: committed on a clean exit, rolled back on any exception."""
        async with self.one() as connection, connection.begin():
            yield connection

    async def close(self) -> None:
        """Close them all, also those on their way back."""
        await asyncio.gather(*self._left, return_exceptions=True)
        await self._engine.dispose()

    async def _opened(self) -> AsyncConnection:
        return await self._engine.connect().start()


async def _give_back(opening: asyncio.Task[AsyncConnection]) -> None:
    connection = await opening
    await connection.close()


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

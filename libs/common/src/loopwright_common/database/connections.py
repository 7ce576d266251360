"""Connections to SQLite or PostgreSQL, given out one transaction at a time."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from loopwright_common.database import postgres, sqlite
from loopwright_common.errors import InvalidError, scheme_alone


class ConnectionPool:
    """Connections of one database engine; a caller cancelled while one opens leaves none behind.

    A connection that nobody closes would keep its file locked.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._closing: set[asyncio.Task[None]] = set()
        self.shared = engine.dialect.name == "postgresql"
        """Whether other processes use the same database."""

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection, closed at the end; what was not committed is rolled back.

        OperationalError when there is none to be had.
        """
        opening = asyncio.create_task(self._opened())
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._leave(_give_back(opening))
            raise
        try:
            yield connection
        finally:
            await asyncio.shield(self._leave(connection.close()))

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction: committed on a clean exit, rolled back on any exception."""
        async with self.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def advisory_lock(self, name: str) -> AsyncGenerator["ConnectionPool", None]:
        """The one connection that holds the lock `name`; each of its statements commits by itself.

        The lock ends with the connection, whatever ends it. PostgreSQL only.
        """
        async with self.connect() as connection:
            try:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                number = func.hashtextextended(name, 0)
                await connection.execute(select(func.pg_advisory_lock(number)))
                await connection.rollback()
                yield _PinnedConnection(self._engine, connection)
                await connection.execute(select(func.pg_advisory_unlock(number)))
            except BaseException:
                await connection.invalidate()
                raise

    async def close(self) -> None:
        """Close them all, also those on their way back."""
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._engine.dispose()

    async def _opened(self) -> AsyncConnection:
        try:
            return await self._engine.connect().start()
        except DBAPIError as error:
            raise OperationalError("connect", None, error.orig or error) from error
        except TimeoutError as error:
            late = TimeoutError("no answer in time")
            raise OperationalError("connect", None, late) from error
        except (OSError, PoolTimeoutError) as error:
            raise OperationalError("connect", None, error) from error

    def _leave(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it to the end, whoever waits for it."""
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task


class _PinnedConnection(ConnectionPool):
    """A single connection that stays open, without a transaction in between."""

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection) -> None:
        super().__init__(engine)
        self._connection = connection

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[AsyncConnection, None]:
        # The library would go on with another connection, which does not hold the lock.
        if self._connection.invalidated:
            lost = ConnectionError("the connection that held the lock was cut")
            raise OperationalError("connect", None, lost)
        try:
            yield self._connection
        finally:
            await self._connection.rollback()


async def _give_back(opening: asyncio.Task[AsyncConnection]) -> None:
    connection = await opening
    await connection.close()


def create_engine(url: str, name: str) -> AsyncEngine:
    """The engine for a service's database (`name` is the file or the schema).

    InvalidError, without any password, for a URL that names neither SQLite nor PostgreSQL.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite.create_engine(Path(parsed.database or "."), name)
    return postgres.create_engine(parsed, name)


def _parsed(url: str) -> URL:
    """InvalidError, without any password, when it names no database that we know."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        made = None
    if made is None or made.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InvalidError(
            f"{scheme_alone(url)}: give sqlite:///DIRECTORY or postgresql://USER@HOST/DATABASE",
            field="database_url",
        )
    return made

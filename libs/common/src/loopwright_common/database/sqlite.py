"""SQLite, safely: one connection to a file, held exclusively, with every commit synced.

Versions before 3.51.3 can corrupt a WAL database that several connections write.
"""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from loopwright_common.files.private import make_private

_PRAGMAS = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "mmap_size=0",
    "foreign_keys=ON",
)


class _Connection(sqlite3.Connection):
    """Closes its cursors with it: one that a cancelled task left would keep the file locked."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *given: Any) -> Any:
        cursor = super().cursor(*given)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        super().close()


_ONE_CONNECTION: Mapping[str, Any] = {
    "pool_size": 1,
    "max_overflow": 0,
    "pool_timeout": 30,
    "connect_args": {"factory": _Connection},
    "json_serializer": lambda value: json.dumps(value, separators=(",", ":")),
}


def create_engine(directory: Path, name: str) -> AsyncEngine:
    """The engine for the file `name` in the directory, which is made."""
    engine = create_async_engine(_url("sqlite+aiosqlite", directory, name), **_ONE_CONNECTION)
    _configured(engine.sync_engine)
    return engine


def create_thread_engine(directory: Path, name: str) -> Engine:
    """The engine for a SQLite file that one thread works with."""
    return _configured(sa.create_engine(_url("sqlite", directory, name), **_ONE_CONNECTION))


def _url(driver: str, directory: Path, name: str) -> str:
    """The URL of the database file `name` in the directory, which is made."""
    make_private(directory)
    return f"{driver}:///{directory / name}.db"


def _configured(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred and would fail to upgrade its lock under contention.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine

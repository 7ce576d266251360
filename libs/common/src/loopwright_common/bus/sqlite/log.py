"""The embedded event log: one append-only SQLite table, position = commit order.

Partitions are as on Kafka: crc32 of the key.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from loopwright_common.bus.interface import Positions, TopicPartition
from loopwright_common.bus.sqlite.table import expired, log, metadata, row_of
from loopwright_common.bus.topics import partitions_of
from loopwright_common.cloudevents import OutgoingRecord, Record
from loopwright_common.database import create_thread_engine
from loopwright_common.errors import UnavailableError, without_paths
from loopwright_common.events import TOPICS, Topic

T = TypeVar("T")
_PRUNE_SECONDS = 3600.0
_logger = structlog.get_logger()


class SqliteLog:
    """Records in one file, for the one process that holds it.

    A thread of its own does each piece of work whole: in steps, each would have to wait its turn
    among all else that the process does.
    """

    def __init__(self, directory: Path) -> None:
        self._engine = create_thread_engine(directory, "log")
        self._thread = ThreadPoolExecutor(1, "event-log")
        self._grown = asyncio.Event()
        self._ends: dict[str, int] = {}

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """UnavailableError where the file cannot be used, as when another process holds it."""
        opened = cls(directory)
        try:
            opened._ends = await opened.work(_prepared)
        except BaseException:
            await opened.close()
            raise
        return opened

    async def work(
        self, do: Callable[[sa.Connection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """Do it in a transaction, and `then` on the event loop, also for a caller who has gone.

        UnavailableError after a fault of the database.
        """
        loop = asyncio.get_running_loop()

        def done() -> T:
            with self._engine.begin() as connection:
                result = do(connection)
            if then is not None:
                loop.call_soon_threadsafe(then, result)
            return result

        try:
            return await loop.run_in_executor(self._thread, done)
        except DBAPIError as error:
            raise UnavailableError(f"event log: {without_paths(error.orig or error)}") from error

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Append all records or none, in order.

        TooLargeError for one over its topic's limit, InvalidError for a topic that `events` does
        not declare, UnavailableError after a fault of the database.
        """
        if not records:
            return
        rows = [row_of(record) for record in records]

        def append(connection: sa.Connection) -> int:
            connection.execute(sa.insert(log), rows)
            return connection.scalar(sa.select(sa.func.max(log.c.position))) or 0

        await self.work(append, partial(self._appended, {record.topic for record in records}))

    def _appended(self, topics: Collection[str], end: int) -> None:
        for topic in topics:
            self._ends[topic] = max(self._ends.get(topic, 0), end)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def ends(self, topics: Sequence[str]) -> Positions:
        """As `EventBus.ends`; UnavailableError after a fault of the database."""
        query = (
            sa.select(log.c.topic, log.c.partition, sa.func.max(log.c.position))
            .where(log.c.topic.in_(topics))
            .group_by(log.c.topic, log.c.partition)
        )
        rows = await self.work(lambda connection: connection.execute(query).all())
        return {TopicPartition(topic, partition): last + 1 for topic, partition, last in rows}

    async def positions_at(self, topics: Sequence[str], at: datetime) -> Positions:
        """As `EventBus.positions_at`; UnavailableError after a fault of the database."""
        query = (
            sa.select(log.c.topic, log.c.partition, sa.func.min(log.c.position))
            .where(log.c.topic.in_(topics), log.c.time >= at)
            .group_by(log.c.topic, log.c.partition)
        )
        rows = await self.work(lambda connection: connection.execute(query).all())
        after = self.end(topics) + 1
        firsts = {TopicPartition(topic, partition): first for topic, partition, first in rows}
        return {partition: firsts.get(partition, after) for partition in partitions_of(topics)}

    async def prune(self) -> int:
        """Apply retention and compaction; returns how many records went.

        UnavailableError after a fault of the database.
        """
        return sum([await self.work(partial(_prune, topic)) for topic in TOPICS.values()])

    async def keep_tidy(self) -> None:
        """Prune now and then, until cancelled."""
        while True:
            try:
                await self.prune()
            except UnavailableError as error:
                _logger.warning("event-log.not-pruned", error=str(error))
            await asyncio.sleep(_PRUNE_SECONDS)

    async def close(self) -> None:
        """Once all that was asked of it is done."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def read(self, topics: Collection[str], start: int, limit: int) -> list[Record]:
        """Up to `limit` records of the topics from position `start` on, oldest first.

        UnavailableError after a fault of the database.
        """
        query = (
            sa.select(log)
            .where(log.c.position >= start, log.c.topic.in_(topics))
            .order_by(log.c.position)
            .limit(limit)
        )
        rows = await self.work(lambda connection: connection.execute(query).all())
        return [
            Record(r.topic, r.partition, r.position, r.key, r.headers, r.value, r.time)
            for r in rows
        ]

    async def wait_past(self, topics: Collection[str], end: int, wait: float) -> None:
        """Return once a topic has a record after position `end`, or after `wait` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while self.end(topics) <= end:
                    await self._grown.wait()

    def end(self, topics: Collection[str]) -> int:
        """At least the position of the topics' last record."""
        return max((self._ends.get(topic, 0) for topic in topics), default=0)


def _prepared(connection: sa.Connection) -> dict[str, int]:
    """The position of each topic's last record."""
    metadata.create_all(connection)
    newest = sa.select(log.c.topic, sa.func.max(log.c.position)).group_by(log.c.topic)
    return {row[0]: row[1] for row in connection.execute(newest)}


def _prune(topic: Topic, connection: sa.Connection) -> int:
    return connection.execute(expired(topic)).rowcount

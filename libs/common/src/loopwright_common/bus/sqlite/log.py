"""The embedded event bus: one append-only SQLite table, position = commit order.

Partitions are as on Kafka (crc32 of the key) and shared by the members of a group in this process.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from loopwright_common.bus.interface import LoadPositions, Positions, Subscription, TopicPartition
from loopwright_common.bus.sqlite.table import expired, log, metadata, row_of
from loopwright_common.bus.topics import partitions_of
from loopwright_common.cloudevents import OutgoingRecord, Record
from loopwright_common.database import create_thread_engine
from loopwright_common.errors import UnavailableError
from loopwright_common.events import TOPICS, Topic

T = TypeVar("T")
_NOWHERE = sys.maxsize
_PRUNE_SECONDS = 3600.0
_logger = structlog.get_logger()


class SqliteBus:
    """`EventBus` in one file, for the one process that holds it.

    A thread of its own does each piece of work whole: in steps, each would have to wait its turn
    among all else that the process does.
    """

    def __init__(self, directory: Path) -> None:
        self._engine = create_thread_engine(directory, "log")
        self._thread = ThreadPoolExecutor(1, "event-log")
        self._grown = asyncio.Event()
        self._groups: dict[str, list[SqliteSubscription]] = {}
        self._ends: dict[str, int] = {}

    @classmethod
    async def open(cls, directory: Path) -> "SqliteBus":
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
            raise UnavailableError(f"event log: {error.orig}") from error

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
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

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        subscription = SqliteSubscription(self, group, topics, load_positions)
        if group is None:
            subscription.assign(subscription.partitions())
        else:
            self._groups.setdefault(group, []).append(subscription)
            self._rebalance(group)
        return subscription

    async def ends(self, topics: Sequence[str]) -> Positions:
        query = (
            sa.select(log.c.topic, log.c.partition, sa.func.max(log.c.position))
            .where(log.c.topic.in_(topics))
            .group_by(log.c.topic, log.c.partition)
        )
        rows = await self.work(lambda connection: connection.execute(query).all())
        return {TopicPartition(topic, partition): last + 1 for topic, partition, last in rows}

    async def positions_at(self, topics: Sequence[str], at: datetime) -> Positions:
        query = (
            sa.select(log.c.topic, log.c.partition, sa.func.min(log.c.position))
            .where(log.c.topic.in_(topics), log.c.time >= at)
            .group_by(log.c.topic, log.c.partition)
        )
        rows = await self.work(lambda connection: connection.execute(query).all())
        after = self.end(topics) + 1
        found = {TopicPartition(topic, partition): first for topic, partition, first in rows}
        return {place: found.get(place, after) for place in partitions_of(topics)}

    async def prune(self) -> int:
        """Apply retention and compaction; returns how many records went."""
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

    def leave(self, subscription: "SqliteSubscription") -> None:
        group = subscription.group
        if group is not None and subscription in self._groups.get(group, []):
            self._groups[group].remove(subscription)
            self._rebalance(group)

    async def read(self, topics: Collection[str], start: int, limit: int) -> list[Record]:
        """Records of the topics from position `start` on, oldest first."""
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

    def _rebalance(self, group: str) -> None:
        members = self._groups[group]
        shares: list[set[TopicPartition]] = [set() for _ in members]
        if not members:
            return
        everything = sorted(set().union(*(member.partitions() for member in members)))
        for number, place in enumerate(everything):
            willing = [i for i, m in enumerate(members) if place.topic in m.topics]
            shares[willing[number % len(willing)]].add(place)
        for member, share in zip(members, shares, strict=True):
            member.assign(share)


class SqliteSubscription:
    """`Subscription` on the log; a changed assignment is taken up at the next fetch."""

    def __init__(
        self,
        log: SqliteBus,
        group: str | None,
        topics: Sequence[str],
        load_positions: LoadPositions,
    ) -> None:
        self.group = group
        self.topics = frozenset(topics)
        self._log = log
        self._load_positions = load_positions
        self._assigned: set[TopicPartition] = set()
        self._places: dict[TopicPartition, int] | None = None

    def partitions(self) -> set[TopicPartition]:
        return set(partitions_of(self.topics))

    def assign(self, share: set[TopicPartition]) -> None:
        if share != self._assigned:
            self._assigned, self._places = share, None

    def assigned(self) -> set[TopicPartition]:
        return self._assigned

    async def fetch(self, limit: int, wait: float) -> list[Record]:
        places = await self._take_up_assignment()
        deadline = time.monotonic() + wait
        while True:
            end = self._log.end(self.topics)
            records = await self._next(places, end, limit)
            if self._places is not places:
                return []
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            await self._log.wait_past(self.topics, end, left)

    async def _next(self, places: dict[TopicPartition, int], end: int, limit: int) -> list[Record]:
        """The next records of ours up to `end` or later; `places` moves past what was read."""
        while places and (start := min(places.values())) <= end:
            read = await self._log.read(self.topics, start, limit)
            mine = [r for r in read if r.offset >= places.get(_place(r), _NOWHERE)]
            # All was read in one order, so every partition has been read this far.
            reached = read[-1].offset + 1 if len(read) == limit else max(end + 1, _after(read))
            places.update({place: max(offset, reached) for place, offset in places.items()})
            if mine:
                return mine
        return []

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if self._places is not None and partition in self._places:
            self._places[partition] = offset

    async def has_reached(self, ends: Positions) -> bool:
        places = self._places
        return places is not None and all(
            places.get(place, end) >= end for place, end in ends.items()
        )

    async def acknowledge(self, positions: Positions) -> None:
        """The log keeps no copy of positions: there are no lag tools beside our own."""

    async def close(self) -> None:
        self._log.leave(self)

    async def _take_up_assignment(self) -> dict[TopicPartition, int]:
        while self._places is None:
            share = self._assigned
            stored = await self._load_positions(share)
            if share is self._assigned:
                self._places = {place: stored.get(place, 0) for place in share}
        return self._places


def _prepared(connection: sa.Connection) -> dict[str, int]:
    """The position of each topic's last record."""
    metadata.create_all(connection)
    newest = sa.select(log.c.topic, sa.func.max(log.c.position)).group_by(log.c.topic)
    return {row[0]: row[1] for row in connection.execute(newest)}


def _prune(topic: Topic, connection: sa.Connection) -> int:
    return connection.execute(expired(topic)).rowcount


def _place(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _after(records: Sequence[Record]) -> int:
    return records[-1].offset + 1 if records else 0

"""Who reads the embedded log: a share of the partitions, and how far each has been read."""

import sys
import time
from collections.abc import Callable, Sequence

from loopwright_common.bus.interface import LoadPositions, Positions, TopicPartition
from loopwright_common.bus.sqlite.log import SqliteLog
from loopwright_common.bus.topics import partitions_of
from loopwright_common.cloudevents import Record

_NOWHERE = sys.maxsize


class SqliteSubscription:
    """`Subscription` on the log; a changed assignment is taken up at the next fetch."""

    def __init__(
        self,
        log: SqliteLog,
        topics: Sequence[str],
        load_positions: LoadPositions,
        leave: Callable[["SqliteSubscription"], None],
    ) -> None:
        self.topics = frozenset(topics)
        self._log = log
        self._load_positions = load_positions
        self._leave = leave
        self._assigned: set[TopicPartition] = set()
        self._offsets: dict[TopicPartition, int] | None = None

    def partitions(self) -> set[TopicPartition]:
        return set(partitions_of(self.topics))

    def assign(self, share: set[TopicPartition]) -> None:
        if share != self._assigned:
            self._assigned, self._offsets = share, None

    def assigned(self) -> set[TopicPartition]:
        return self._assigned

    async def fetch(self, limit: int, wait: float) -> list[Record]:
        """As `Subscription.fetch`; UnavailableError after a fault of the database."""
        offsets = await self._take_up_assignment()
        deadline = time.monotonic() + wait
        while True:
            end = self._log.end(self.topics)
            records = await self._next(offsets, end, limit)
            if self._offsets is not offsets:
                return []
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            await self._log.wait_past(self.topics, end, left)

    async def _next(self, offsets: dict[TopicPartition, int], end: int, limit: int) -> list[Record]:
        """The next records of ours up to `end` or later; `offsets` moves past what was read."""
        while offsets and (start := min(offsets.values())) <= end:
            read = await self._log.read(self.topics, start, limit)
            mine = [r for r in read if r.offset >= offsets.get(_partition_of(r), _NOWHERE)]
            # All was read in one order, so every partition has been read this far.
            reached = read[-1].offset + 1 if len(read) == limit else max(end + 1, _after(read))
            offsets.update({each: max(offset, reached) for each, offset in offsets.items()})
            if mine:
                return mine
        return []

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if self._offsets is not None and partition in self._offsets:
            self._offsets[partition] = offset

    async def has_reached(self, ends: Positions) -> bool:
        offsets = self._offsets
        return offsets is not None and all(
            offsets.get(partition, end) >= end for partition, end in ends.items()
        )

    async def acknowledge(self, positions: Positions) -> None:
        """The log keeps no copy of positions: there are no lag tools beside our own."""

    async def close(self) -> None:
        self._leave(self)

    async def _take_up_assignment(self) -> dict[TopicPartition, int]:
        while self._offsets is None:
            share = self._assigned
            stored = await self._load_positions(share)
            if share is self._assigned:
                self._offsets = {partition: stored.get(partition, 0) for partition in share}
        return self._offsets


def _partition_of(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _after(records: Sequence[Record]) -> int:
    return records[-1].offset + 1 if records else 0

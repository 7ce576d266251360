"""Which partitions a member holds and how far it is in them, fenced in the database.

A member writes its token when it takes a partition over; from then on its predecessor's stores are
refused, and with them all that its transactions did. A person who sets a position back clears the
token, which the member notices in the same way.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from loopwright_common import clock
from loopwright_common.bus import Positions, TopicPartition
from loopwright_common.cloudevents import Record
from loopwright_common.database import UnitOfWork, positions
from loopwright_common.errors import LoopwrightError
from loopwright_common.ids import new_id

_KEY = ["consumer", "topic", "partition"]
_PLACE = (positions.c.topic, positions.c.partition)


class FencedError(LoopwrightError):
    """A partition is in other hands, or was set back: nothing in hand may be finished."""


class PartitionOwnership:
    """One member's hold on its partitions."""

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer
        self.generation = 0
        """How often the consumer's state was begun anew."""
        self.held: AbstractSet[TopicPartition] = frozenset()
        """What was taken last, and may have been lost since."""
        self._token = new_id()

    async def acquire(
        self, uow: UnitOfWork, partitions: AbstractSet[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Take the partitions over; returns the stored positions of those that were begun."""
        self.held = frozenset(partitions)
        if not partitions:
            return {}
        taken = _acquire_statement(uow.connection.dialect.name)
        rows = [self._row(partition, 0) for partition in sorted(partitions)]
        acquired = (await uow.connection.execute(taken, rows)).all()
        self.generation = max(row.generation for row in acquired)
        return {TopicPartition(*row[:2]): row.next_offset for row in acquired if row.next_offset}

    async def store_positions(self, uow: UnitOfWork, reached: Positions) -> None:
        """Move forward, in the transaction that did the work; FencedError if others did."""
        now = clock.now()
        rows = [
            self._row(partition, offset) | {"handled_at": now}
            for partition, offset in sorted(reached.items())
        ]
        moving = _advance_statement(uow.connection.dialect.name)
        moved = await uow.connection.execute(moving, rows if len(rows) > 1 else rows[0])
        if len(moved.all()) < len(rows):
            raise FencedError(f"{self.consumer}: another member goes on from here")

    async def confirm(self, uow: UnitOfWork, partition: TopicPartition) -> None:
        """FencedError unless the partition is held; nobody takes it before this commits."""
        held = sa.select(positions.c.owner).where(
            positions.c.consumer == self.consumer,
            positions.c.topic == partition.topic,
            positions.c.partition == partition.partition,
        )
        if await uow.connection.scalar(held.with_for_update(read=True)) != self._token:
            raise FencedError(f"{self.consumer}: {partition} is in other hands")

    def is_lost(self, owners: dict[TopicPartition, str], mine: AbstractSet[TopicPartition]) -> bool:
        """Whether somebody else took, or set back, one of these partitions."""
        return any(owners.get(partition, self._token) != self._token for partition in mine)

    def _row(self, partition: TopicPartition, offset: int) -> dict[str, Any]:
        return {
            "consumer": self.consumer,
            "topic": partition.topic,
            "partition": partition.partition,
            "next_offset": offset,
            "owner": self._token,
        }


def partition_of(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def positions_after(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """Where each partition goes on once these are done."""
    return {partition_of(record): record.offset + 1 for record in records}


@cache
def _acquire_statement(dialect: str) -> Any:
    new = _insert(dialect)
    taken = new.on_conflict_do_update(index_elements=_KEY, set_={"owner": new.excluded.owner})
    return taken.returning(*_PLACE, positions.c.next_offset, positions.c.generation)


@cache
def _advance_statement(dialect: str) -> Any:
    new = _insert(dialect)
    return new.on_conflict_do_update(
        index_elements=_KEY,
        set_={name: new.excluded[name] for name in ("next_offset", "handled_at")},
        where=sa.and_(
            positions.c.owner == new.excluded.owner,
            positions.c.next_offset <= new.excluded.next_offset,
        ),
    ).returning(*_PLACE)


def _insert(dialect: str) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert(positions)

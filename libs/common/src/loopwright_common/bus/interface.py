"""The event bus: what services ask of it, whatever carries the events."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from loopwright_common.cloudevents import OutgoingRecord, Record


class TopicPartition(NamedTuple):
    """A partition of a topic, by our name for it; partitions count from 0."""

    topic: str
    partition: int


Positions = Mapping[TopicPartition, int]
LoadPositions = Callable[[set[TopicPartition]], Awaitable[Positions]]


class Subscription(Protocol):
    """A member of a group (or, without a group, a reader of everything)."""

    async def fetch(self, limit: int, wait: float) -> list[Record]:
        """Up to `limit` records, in order per partition; empty after `wait` seconds without any.

        When the assignment changes, positions are loaded anew before the next record is given.
        UnavailableError while the bus, or what loads the positions, is away.
        """
        ...

    def assigned(self) -> set[TopicPartition]: ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """The next record fetched from `partition` is the first at or after `offset`."""
        ...

    async def has_reached(self, ends: Positions) -> bool:
        """Whether nothing before `ends` is left to fetch from the assigned partitions."""
        ...

    async def acknowledge(self, positions: Positions) -> None:
        """Tell the bus how far the work is; only lag tools read this, the database decides."""
        ...

    async def close(self) -> None: ...


class EventBus(Protocol):
    """Durable, partitioned, ordered by key; publishing returns once the records are kept."""

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Keep all records, in order; UnavailableError leaves it open how many were kept.

        TooLargeError for one over its topic's limit and InvalidError for an undeclared topic keep
        none of them.
        """
        ...

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        """Join a group; partitions without a stored position are read from their start.

        InvalidError for an undeclared topic, UnavailableError where it is not there yet.
        """
        ...

    async def ends(self, topics: Sequence[str]) -> Positions:
        """The offset after the last record of every partition that has any.

        UnavailableError while the bus is away.
        """
        ...

    async def positions_at(self, topics: Sequence[str], at: datetime) -> Positions:
        """For every partition the offset of its first record kept at or after `at`.

        The offset after its last record where there is none. UnavailableError while the bus is
        away.
        """
        ...

    async def close(self) -> None: ...


async def from_start(partitions: set[TopicPartition]) -> Positions:
    """Positions of a reader that wants everything."""
    return dict.fromkeys(partitions, 0)

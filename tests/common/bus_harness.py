"""Where a bus is, and how tests read from it: the same words for every implementation."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loopwright_common.bus.interface import (
    EventBus,
    Positions,
    Subscription,
    TopicPartition,
    from_start,
)
from loopwright_common.cloudevents.codec import OutgoingRecord, Record
from loopwright_common.errors import UnavailableError
from loopwright_common.process.bus_factory import open_bus

TOPIC = "code-changed"
TABLE = "routes-changed"
GROUP = "workers"


@dataclass(frozen=True)
class BusAddress:
    """A bus that can be opened, and opened again."""

    url: str
    prefix: str = ""

    async def open(self) -> EventBus:
        return await open_bus(self.url, self.prefix)


def record(key: str, value: bytes, topic: str = TOPIC) -> OutgoingRecord:
    return OutgoingRecord(topic, key, {"ce_id": key}, value)


def numbered(count: int, keys: int = 5, first: int = 0) -> list[OutgoingRecord]:
    return [record(f"key-{n % keys}", str(n).encode()) for n in range(first, first + count)]


async def read_everything(bus: EventBus, topic: str = TOPIC) -> list[Record]:
    """What the topic holds, as a reader without a group finds it."""
    ends = await bus.ends([topic])
    subscription = await bus.subscribe(None, [topic], from_start)
    found: list[Record] = []
    async with asyncio.timeout(240):
        found += await subscription.fetch(7, 0.05)
        while not await subscription.has_reached(ends):
            found += await subscription.fetch(7, 0.05)
    await subscription.close()
    return found


async def collect(subscription: Subscription, count: int) -> list[Record]:
    """The next `count` records, however they are parcelled."""
    found: list[Record] = []
    async with asyncio.timeout(240):
        while len(found) < count:
            found += await subscription.fetch(count - len(found), 0.5)
    return found


def values(records: Sequence[Record]) -> list[bytes]:
    return [found.value for found in records]


def by_key(records: Sequence[Record]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for each in records:
        found.setdefault(each.key, []).append(int(each.value))
    return found


async def no_positions(_partitions: set[TopicPartition]) -> Positions:
    """A group that has stored none yet."""
    return {}


@dataclass
class Group:
    """What the members of a group have in common: what they handled and how far that is stored."""

    positions: dict[TopicPartition, int] = field(default_factory=dict)
    handled: list[Record] = field(default_factory=list)

    async def load(self, partitions: set[TopicPartition]) -> Positions:
        return {
            partition: self.positions[partition]
            for partition in partitions
            if partition in self.positions
        }

    def handle(self, records: Sequence[Record]) -> None:
        for each in records:
            self.handled.append(each)
            self.positions[TopicPartition(each.topic, each.partition)] = each.offset + 1

    async def step(self, subscription: Subscription, most: int = 10) -> list[Record]:
        """As a consumer does: fetch, handle, store, acknowledge."""
        records = await subscription.fetch(most, 0.1)
        self.handle(records)
        await subscription.acknowledge(dict(self.positions))
        return records

    def first_handled(self) -> list[Record]:
        """Without repetitions, as an inbox would let them through."""
        seen: dict[tuple[str, int, int], Record] = {}
        for each in self.handled:
            seen.setdefault((each.topic, each.partition, each.offset), each)
        return list(seen.values())

    @asynccontextmanager
    async def member(self, bus: EventBus) -> AsyncGenerator[Subscription, None]:
        """One that works until the block ends, and then leaves."""
        subscription = await bus.subscribe(GROUP, [TOPIC], self.load)
        working = asyncio.create_task(self._work(subscription))
        try:
            yield subscription
        finally:
            working.cancel()
            await asyncio.wait([working])
            await subscription.close()

    async def _work(self, subscription: Subscription) -> None:
        while True:
            try:
                await self.step(subscription)
            except UnavailableError:
                await asyncio.sleep(0.2)


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 240) -> None:
    """Return once it holds."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.05)

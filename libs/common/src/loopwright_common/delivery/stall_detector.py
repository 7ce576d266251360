"""Whether a consumer gets on: looked at every few seconds, so that probes cost nothing."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from loopwright_common.bus import EventBus, Positions, TopicPartition
from loopwright_common.database import Database, positions
from loopwright_common.delivery import dead_letters, retry_queue
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.observability.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """How far a consumer is, whichever members got it there."""

    reached: Positions
    ends: Positions
    owners: dict[TopicPartition, str]
    generation: int
    last_handled_at: datetime | None
    parked_keys: int
    dead_letters: int

    def lag(self) -> dict[TopicPartition, int]:
        """Offsets left to read, of every partition that has any record."""
        return {
            partition: max(end - self.reached.get(partition, 0), 0)
            for partition, end in self.ends.items()
        }


async def read_status(
    database: Database, bus: EventBus, consumer: str, topics: Sequence[str]
) -> ConsumerStatus:
    """As the database and the bus have it now; UnavailableError when one of them is away."""
    ends = await bus.ends(topics)
    query = sa.select(positions).where(positions.c.consumer == consumer)
    counts = sa.select(retry_queue.count_keys(consumer), dead_letters.count_dead(consumer))
    async with database.read() as connection:
        rows = {TopicPartition(r.topic, r.partition): r for r in await connection.execute(query)}
        parked_keys, dead = (await connection.execute(counts)).one()
    return ConsumerStatus(
        reached={partition: row.next_offset for partition, row in rows.items()},
        ends=ends,
        owners={partition: row.owner for partition, row in rows.items()},
        generation=max((row.generation for row in rows.values()), default=0),
        last_handled_at=max((r.handled_at for r in rows.values() if r.handled_at), default=None),
        parked_keys=parked_keys,
        dead_letters=dead,
    )


class StallDetector:
    """Shows where one member stands, and knows since when a partition of its own stands still."""

    def __init__(self, consumer: str, metrics: Metrics, retry_policy: RetryPolicy) -> None:
        self.trouble: str | None = None
        self._consumer = consumer
        self._metrics = metrics
        self._retry_policy = retry_policy
        self._still_since: dict[tuple[TopicPartition, int], float] = {}

    def reset(self) -> None:
        """Bus or database could not be asked, so nothing is known of any standstill."""
        self._still_since = {}
        self.trouble = None

    def check(self, seen: ConsumerStatus, mine: AbstractSet[TopicPartition]) -> bool:
        """Whether the member stands still for so long that it should join its group anew.

        One that holds no partition answers for all: perhaps it has fallen out of its group.
        """
        self._show(seen)
        now = time.monotonic()
        waiting = {p: left for p, left in seen.lag().items() if left and (p in mine or not mine)}
        held_up = {(partition, seen.reached.get(partition, 0)) for partition in waiting}
        self._still_since = {key: self._still_since.get(key, now) for key in held_up}
        (partition, _), since = min(
            self._still_since.items(), key=lambda item: item[1], default=((None, 0), now)
        )
        still = now - since
        self.trouble = None
        if partition is not None and mine and still > self._retry_policy.stalled_after:
            self.trouble = (
                f"{self._consumer}: no progress for {still:.0f} s, while {waiting[partition]} "
                f"offsets of {partition.topic}/{partition.partition} wait"
            )
        return still > self._retry_policy.rejoin_after

    def _show(self, seen: ConsumerStatus) -> None:
        for partition, left in seen.lag().items():
            labels = (self._consumer, partition.topic, str(partition.partition))
            self._metrics.consumer_lag.labels(*labels).set(left)
        self._metrics.parked_keys.labels(self._consumer).set(seen.parked_keys)
        self._metrics.dlq_depth.labels(self._consumer).set(seen.dead_letters)

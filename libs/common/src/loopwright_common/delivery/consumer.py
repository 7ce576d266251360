"""A worker of a group: from its subscription to effects, each event once, in order per key.

At least once on the wire, exactly once in effect: `executor` says how. The positions are in the
database, so what a member has in hand when it loses a partition is dropped, not finished.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any

import structlog

from loopwright_common.bus import EventBus, Positions, Subscription, TopicPartition
from loopwright_common.cloudevents import Record
from loopwright_common.database import Database, UnitOfWork
from loopwright_common.delivery.consumer_stats import ConsumerStats
from loopwright_common.delivery.executor import RecordExecutor
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.delivery.partition_ownership import (
    FencedError,
    partition_of,
    positions_after,
)
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.delivery.stall_detector import ConsumerStatus, StallDetector, read_status
from loopwright_common.errors import UnavailableError
from loopwright_common.observability.metrics import Metrics

_CHECK_SECONDS = 5.0
_CLOSING_SECONDS = 5.0
_TOGETHER_SECONDS = 0.5
log = structlog.get_logger()
Reset = Callable[[UnitOfWork], Awaitable[None]]


class Consumer:
    """A worker of the group `name`: handles each event once, in order per key and topic.

    With `reset`, which clears what its handlers derived from events, it can be rebuilt. Records
    share a transaction unless `sharing` is False, as many as take a moment: nobody else writes to
    SQLite meanwhile.
    """

    def __init__(
        self,
        name: str,
        handlers: Handlers,
        database: Database,
        bus: EventBus,
        metrics: Metrics,
        *,
        batch: int = 32,
        sharing: bool = True,
        retry_policy: RetryPolicy | None = None,
        reset: Reset | None = None,
    ) -> None:
        retry_policy = retry_policy or RetryPolicy()
        self.name = name
        self.topics = sorted({payload.topic for payload in handlers})
        self.reset = reset
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._batch = batch
        self._sharing = sharing
        self._together = 1
        self._stats = ConsumerStats(name, metrics, retry_policy.poison_limit)
        self._executor = RecordExecutor(name, handlers, database, retry_policy, self._stats)
        self._stall_detector = StallDetector(name, metrics, retry_policy)
        self._wake = asyncio.Event()
        self._must_reload = False

    @property
    def stopped(self) -> str | None:
        """Why it gave up on itself."""
        return self._stats.stopped

    def trouble(self) -> str | None:
        """Why it does not get on; from memory, so that a probe costs nothing."""
        return self._stats.trouble() or self._stall_detector.trouble

    def wake(self) -> None:
        """A person has changed positions or parked records: notice it at once."""
        self._wake.set()

    async def status(self) -> ConsumerStatus:
        """How far the consumer is, whichever members got it there.

        UnavailableError while the database or the bus is away.
        """
        return await read_status(self._database, self._bus, self.name, self.topics)

    async def positions_at(self, topic: str, at: datetime) -> Positions:
        """Where the records from that time on begin; UnavailableError while the bus is away."""
        return await self._bus.positions_at([topic], at)

    # ---- running ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled, or until too many records in a row were poison.

        UnavailableError where the bus cannot be joined; once joined, a bus or database that is away
        is waited for.
        """
        while self.stopped is None:
            subscription = await self._bus.subscribe(self.name, self.topics, self._load_positions)
            try:
                await _first_of(self._serve(subscription), self._watch(subscription))
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSING_SECONDS):
                        await subscription.close()

    async def _serve(self, subscription: Subscription) -> None:
        while self.stopped is None:
            await self.step(subscription, wait=0.5)

    async def _watch(self, subscription: Subscription) -> None:
        """Until this member has to join its group anew."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if await self._is_stuck(subscription.assigned()):
                log.error("consumer.rejoined", consumer=self.name, why=self._stall_detector.trouble)
                self._stall_detector.reset()
                return

    async def _is_stuck(self, mine: AbstractSet[TopicPartition]) -> bool:
        try:
            seen = await self.status()
        except UnavailableError as error:
            log.debug("consumer.status-unavailable", consumer=self.name, error=str(error))
            self._stall_detector.reset()
            return False
        self._must_reload |= self._executor.ownership.is_lost(seen.owners, mine)
        self._executor.may_have_parked |= seen.parked_keys > 0
        return self._stall_detector.check(seen, mine)

    # ---- one fetch -------------------------------------------------------------------------

    async def step(self, subscription: Subscription, wait: float) -> int:
        """Fetch, for at most `wait` seconds, and handle once; returns how many were fetched."""
        try:
            if self._must_reload:
                await self._reload(subscription)
            await self._executor.retry_parked(subscription.assigned())
            records = await subscription.fetch(self._batch, wait)
            if records:
                await self._handle(records)
                await self._acknowledge(subscription, records)
        except UnavailableError as error:
            self._stats.paused(error)
            await asyncio.sleep(1)
            return 0
        except FencedError as error:
            log.info("consumer.fenced", consumer=self.name, why=str(error))
            self._must_reload = True
            return 0
        self._stats.resumed()
        return len(records)

    async def _handle(self, records: Sequence[Record]) -> None:
        done = 0
        while done < len(records) and self.stopped is None:
            together = records[done : done + self._together]
            started, held = time.perf_counter(), self._executor.held_seconds
            alone = len(together) == 1 or not self._sharing
            if alone or not await self._executor.handle_batch(together):
                await self._handle_each(together)
            self._metrics.event_handle.labels(self.name).observe(time.perf_counter() - started)
            # Fewer would wait as long for the connection, and all the more often.
            held = self._executor.held_seconds - held
            self._together = _how_many(len(together), held, self._batch)
            done += len(together)

    async def _handle_each(self, records: Sequence[Record]) -> None:
        """Partitions side by side where the database can, each in its order."""
        if not self._executor.in_parallel:
            await self._executor.handle_each(records)
            return
        by_partition = groupby(sorted(records, key=partition_of), key=partition_of)
        try:
            async with asyncio.TaskGroup() as group:
                for _, lane in by_partition:
                    group.create_task(self._executor.handle_each(list(lane)))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _acknowledge(self, subscription: Subscription, records: Sequence[Record]) -> None:
        if self.stopped is None:
            await subscription.acknowledge(positions_after(records))

    # ---- positions -------------------------------------------------------------------------

    async def _load_positions(self, partitions: set[TopicPartition]) -> Positions:
        return await self._executor.acquire(partitions)

    async def _reload(self, subscription: Subscription) -> None:
        """Drop what was fetched, and go on from what is stored."""
        mine = subscription.assigned()
        stored = await self._load_positions(set(mine))
        for partition in mine:
            subscription.seek(partition, stored.get(partition, 0))
        self._must_reload = False


def _how_many(handled: int, seconds: float, most: int) -> int:
    """Records to handle together next, given how long the last ones took; twice as many at most."""
    fitting = int(handled * _TOGETHER_SECONDS / max(seconds, 1e-9))
    return max(1, min(fitting, 2 * handled, most))


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Until one of them ends; the others are given a while to roll back."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CLOSING_SECONDS)

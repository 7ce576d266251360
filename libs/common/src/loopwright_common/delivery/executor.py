"""Records through their transactions: done, parked for another try, or dead-lettered.

The inbox row, the handler's changes, what it emits and the position commit together. One place
decides about failures: what cannot be decoded is a dead letter at once; what fails waits in
`parked`, and only its key waits with it; while the database itself is away nothing is parked and
nothing moves.
"""

import asyncio
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import structlog

from loopwright_common.bus import Positions, TopicPartition
from loopwright_common.cloudevents import Record
from loopwright_common.database import Database, UnitOfWork
from loopwright_common.delivery import inbox
from loopwright_common.delivery.consumer_stats import ConsumerStats
from loopwright_common.delivery.dead_letter_writer import dead_letter
from loopwright_common.delivery.inbox import DecodedRecord, Handlers
from loopwright_common.delivery.partition_ownership import (
    FencedError,
    PartitionOwnership,
    partition_of,
    positions_after,
)
from loopwright_common.delivery.retry_policy import RetryPolicy, is_database_fault
from loopwright_common.delivery.retry_queue import ParkedRecord, RetryQueue
from loopwright_common.errors import UnavailableError, UndecodableError, described
from loopwright_common.failpoints import failpoint

_BLAMELESS = 5
"""Faults of the database in a row until the record itself is suspected."""
_MOST_RETRIES = 500
"""Before the next fetch, so that a long queue of one key holds up no other."""
log = structlog.get_logger()


class RecordExecutor:
    """What one member does with the records of its partitions.

    FencedError when it lost one of them, UnavailableError while the database is away.
    """

    def __init__(
        self,
        consumer: str,
        handlers: Handlers,
        database: Database,
        retry_policy: RetryPolicy,
        stats: ConsumerStats,
    ) -> None:
        self.ownership = PartitionOwnership(consumer)
        self.may_have_parked = True
        self.in_parallel = False
        """Whether the database runs several transactions at once."""
        self.held_seconds = 0.0
        """How long its transactions kept a connection, in all; not how long they waited for one."""
        self._consumer = consumer
        self._handlers = handlers
        self._database = database
        self._retry_policy = retry_policy
        self._stats = stats
        self._retry_queue = RetryQueue(consumer)

    async def acquire(self, partitions: AbstractSet[TopicPartition]) -> Positions:
        """Take partitions over with what their former owner parked; returns their positions."""
        async with self._database.unit_of_work() as uow:
            stored = await self.ownership.acquire(uow, partitions)
            self.in_parallel = uow.connection.dialect.name != "sqlite"
        self.may_have_parked = True
        return stored

    async def handle_batch(self, records: Sequence[Record]) -> bool:
        """All in one transaction; False when one fails, and then none is done."""
        try:
            work = [await inbox.prepare(record, self._handlers) for record in records]
            await self._do(work)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001  (redone singly, where it is decided upon)
            log.debug("consumer.batch-split", consumer=self._consumer, error=repr(error))
            return False
        return True

    async def handle_each(self, records: Sequence[Record]) -> None:
        """Handle in order, each in its own transaction; while the database is away, wait for it."""
        for record in records:
            failures = 0
            while self._stats.stopped is None:
                try:
                    await self._handle(record, blameless=failures < _BLAMELESS)
                    break
                except UnavailableError as error:
                    failures += 1
                    self._stats.paused(error)
                    await asyncio.sleep(min(0.05 * 2**failures, 10))

    async def _handle(self, record: Record, *, blameless: bool) -> None:
        try:
            await self._do([await inbox.prepare(record, self._handlers)])
        except FencedError:
            raise
        except UndecodableError as error:
            await self._dead_letter(record, error)
        except Exception as error:
            if blameless and is_database_fault(error):
                raise
            await self._park(record, error)

    async def _do(self, work: Sequence[DecodedRecord]) -> None:
        async with self._database.unit_of_work() as uow:
            began = time.perf_counter()
            waiting = await self._append_behind_parked(uow, work)
            now = [ready for ready in work if ready not in waiting]
            await inbox.apply(uow, self._consumer, self.ownership.generation, now)
            await self.ownership.store_positions(
                uow, positions_after(ready.record for ready in work)
            )
            failpoint(f"{self._consumer}.handled")
        self.held_seconds += time.perf_counter() - began
        self._stats.handled(now)
        for ready in waiting:
            self._stats.blocked(ready.record)

    async def _append_behind_parked(
        self, uow: UnitOfWork, work: Sequence[DecodedRecord]
    ) -> list[DecodedRecord]:
        """Keep the order of a key: while an earlier record waits, later ones wait behind it."""
        if not self.may_have_parked:
            return []
        records = [ready.record for ready in work]
        held = await self._retry_queue.blocked_keys(uow.connection, records)
        waiting = [ready for ready in work if (ready.record.topic, ready.record.key) in held]
        for ready in waiting:
            await self._retry_queue.enqueue(uow, ready.record, 0, "waits behind its key")
        return waiting

    async def _dead_letter(self, record: Record, error: Exception) -> None:
        async with self._database.unit_of_work() as uow:
            is_new = await dead_letter(uow, self._consumer, record, error, attempts=1)
            await self.ownership.store_positions(uow, positions_after([record]))
        self._stats.dead_lettered(record, error, is_new=is_new)

    async def _park(self, record: Record, error: Exception) -> None:
        async with self._database.unit_of_work() as uow:
            delay = self._retry_policy.delay(1)
            await self._retry_queue.enqueue(uow, record, 1, described(error), delay)
            await self.ownership.store_positions(uow, positions_after([record]))
        self.may_have_parked = True
        self._stats.parked(record, error)

    # ---- parked keys -----------------------------------------------------------------------

    async def retry_parked(self, mine: AbstractSet[TopicPartition]) -> None:
        """Try what is due and then what waited behind it, while that goes well; not for long."""
        mine = mine & self.ownership.held
        left = _MOST_RETRIES
        while left > 0 and mine and self.may_have_parked and self._stats.stopped is None:
            went_well = await self._retry_due(mine)
            if not went_well:
                return
            left -= went_well

    async def _retry_due(self, mine: AbstractSet[TopicPartition]) -> int:
        """How many went well."""
        # Set before looking: what is parked or taken over meanwhile is not overlooked.
        self.may_have_parked = False
        try:
            async with self._database.read() as connection:
                heads = await self._retry_queue.next_due(connection, mine)
        except BaseException:
            self.may_have_parked = True
            raise
        self.may_have_parked |= bool(heads)
        return sum([await self._retry(head) for head in heads if head.is_due()])

    async def _retry(self, waiting: ParkedRecord) -> bool:
        try:
            ready = await inbox.prepare(waiting.record, self._handlers)
            async with self._database.unit_of_work() as uow:
                await inbox.apply(uow, self._consumer, self.ownership.generation, [ready])
                await self._retry_queue.remove(uow, waiting)
                await self.ownership.confirm(uow, partition_of(waiting.record))
        except FencedError:
            raise
        except Exception as error:
            if is_database_fault(error):
                raise
            await self._retry_failed(waiting, error)
            return False
        self._stats.handled([ready])
        return True

    async def _retry_failed(self, waiting: ParkedRecord, error: Exception) -> None:
        attempts = waiting.attempts + 1
        if not self._retry_policy.gives_up(error, attempts):
            delay = self._retry_policy.delay(attempts)
            async with self._database.unit_of_work() as uow:
                await self._retry_queue.postpone(uow, waiting, attempts, described(error), delay)
            return
        async with self._database.unit_of_work() as uow:
            is_new = await dead_letter(
                uow,
                self._consumer,
                waiting.record,
                error,
                attempts=attempts,
                first_failed_at=waiting.first_failed_at,
            )
            await self._retry_queue.remove(uow, waiting)
            await self.ownership.confirm(uow, partition_of(waiting.record))
        self._stats.dead_lettered(waiting.record, error, is_new=is_new)

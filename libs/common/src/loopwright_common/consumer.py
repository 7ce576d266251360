"""Record to effect, once: the only place that decides about delivery and its failures.

At least once on the wire, exactly once in effect: the inbox row, the handler's changes, what it
emits and the position commit together. A record that cannot be decoded goes to the dead letters;
one whose handler fails waits in `parked`, and only its key waits with it. A passing fault
(UnavailableError) is waited out, however long; any other failure ends in the dead letters.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from structlog.contextvars import bound_contextvars

from loopwright_common import clock, codec, dead_letters, parking
from loopwright_common.bus import EventBus, Positions, Subscription, TopicPartition
from loopwright_common.codec import Record
from loopwright_common.database import Database
from loopwright_common.delivery_tables import inbox, positions
from loopwright_common.errors import UnavailableError, UndecodableError
from loopwright_common.events import Event, Payload
from loopwright_common.failpoints import failpoint
from loopwright_common.metrics import Metrics
from loopwright_common.parking import Parking, Waiting
from loopwright_common.sql import upsert
from loopwright_common.unit_of_work import Cause, UnitOfWork

log = structlog.get_logger()
Handler = Callable[[Event[Any], UnitOfWork], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A handler in two parts: `prepare` works outside the transaction, `apply` inside it."""

    prepare: Callable[[Event[Any]], Awaitable[Any]]
    apply: Callable[[Event[Any], Any, UnitOfWork], Awaitable[None]]


Handlers = Mapping[type[Payload], Handler | Prepared]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failing record is tried, and when a consumer gives up on itself."""

    delays: tuple[float, ...] = (0.2, 1, 5, 15, 60)
    poison_limit: int = 50
    """Dead letters in a row after which the consumer stops instead of emptying the topic."""


@dataclass(frozen=True, slots=True)
class _Ready:
    event: Event[Any]
    run: Callable[[UnitOfWork], Awaitable[None]]


class Consumer:
    """A worker of the group `name`: handles each event once, in order per key and topic."""

    def __init__(
        self,
        name: str,
        handlers: Handlers,
        database: Database,
        bus: EventBus,
        metrics: Metrics,
        *,
        batch: int = 32,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.stopped: str | None = None
        self._handlers = handlers
        self._topics = sorted({payload.topic for payload in handlers})
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._batch = batch
        self._patience = patience or Patience()
        self._parking = Parking(name)
        self._poisoned = 0
        self._may_have_parked = True

    async def run(self) -> None:
        """Until cancelled, or until too many records in a row were poison."""
        subscription = await self._bus.subscribe(self.name, self._topics, self._load_positions)
        try:
            while self.stopped is None:
                await self.step(subscription, wait=0.5)
        finally:
            await subscription.close()

    async def step(self, subscription: Subscription, wait: float) -> int:
        """Fetch and handle once; returns how many records were fetched."""
        try:
            await self._retry_parked(subscription)
            records = await subscription.fetch(self._batch, wait)
        except UnavailableError as error:
            log.warning("consumer.paused", consumer=self.name, error=str(error))
            await asyncio.sleep(1)
            return 0
        if records:
            started = time.perf_counter()
            await self._handle(records)
            self._metrics.event_handle.labels(self.name).observe(time.perf_counter() - started)
            if self.stopped is None:
                await subscription.acknowledge(_after(records))
        self._metrics.consumer_progress.labels(self.name).set_to_current_time()
        return len(records)

    # ---- records ---------------------------------------------------------------------------

    async def _handle(self, records: Sequence[Record]) -> None:
        """All in one transaction when all go well, else each in its own."""
        if len(records) > 1:
            try:
                await self._handle_together(records)
            except Exception as error:  # noqa: BLE001  (redone singly, where it is decided upon)
                log.debug("consumer.redone-singly", consumer=self.name, error=repr(error))
            else:
                self._poisoned = 0
                return
        for record in records:
            if self.stopped is None:
                await self._handle_until_decided(record)

    async def _handle_together(self, records: Sequence[Record]) -> None:
        ready = [await self._prepare(record) for record in records]
        async with self._database.unit_of_work() as uow:
            for record, work in zip(records, ready, strict=True):
                if not await self._append_behind_parked(uow, record):
                    await self._apply(uow, work)
            await self._store_positions(uow, _after(records))
            failpoint(f"{self.name}.handled")
        for record in records:
            self._count(record, "handled")

    async def _handle_until_decided(self, record: Record) -> None:
        """Handle, park or bury one record; while the database is away, wait for it."""
        failures = 0
        while True:
            try:
                await self._handle_one(record)
            except UnavailableError as error:
                failures += 1
                log.warning("consumer.paused", consumer=self.name, error=str(error))
                await asyncio.sleep(min(0.1 * 2**failures, 10))
            else:
                return

    async def _handle_one(self, record: Record) -> None:
        try:
            work = await self._prepare(record)
            async with self._database.unit_of_work() as uow:
                waits = await self._append_behind_parked(uow, record)
                if not waits:
                    await self._apply(uow, work)
                await self._store_positions(uow, _after([record]))
                failpoint(f"{self.name}.handled")
        except UndecodableError as error:
            await self._bury(record, error, attempts=1)
        except Exception as error:  # noqa: BLE001  (any handler failure parks its record)
            await self._park(record, error)
        else:
            self._poisoned = 0
            self._count(record, "parked" if waits else "handled")

    async def _prepare(self, record: Record) -> _Ready:
        event = codec.decode(record)
        handler = self._handlers[type(event.data)]
        if not isinstance(handler, Prepared):
            return _Ready(event, lambda uow: handler(event, uow))
        value = await handler.prepare(event)
        return _Ready(event, lambda uow: handler.apply(event, value, uow))

    async def _apply(self, uow: UnitOfWork, work: _Ready) -> None:
        claimed = await upsert(
            uow.connection,
            inbox,
            {"consumer": self.name, "event_id": work.event.id, "handled_at": clock.now()},
        )
        if claimed:
            uow.follow(Cause.of(work.event), self.name)
            with bound_contextvars(event_id=work.event.id, chain_id=work.event.chain_id):
                await work.run(uow)

    async def _bury(self, record: Record, error: Exception, attempts: int) -> None:
        async with self._database.unit_of_work() as uow:
            await dead_letters.bury(uow, self.name, record, error, attempts)
            await self._store_positions(uow, _after([record]))
        self._buried(record, error)

    def _buried(self, record: Record, error: Exception) -> None:
        self._count(record, "dead-letter")
        log.error("consumer.dead-letter", consumer=self.name, topic=record.topic,
                  offset=record.offset, error=str(error))  # fmt: skip
        self._poisoned += 1
        if self._poisoned >= self._patience.poison_limit:
            self.stopped = (
                f"{self._poisoned} records in a row went to the dead letters, last: {error}; "
                "mend the cause and restart the service"
            )
            log.error("consumer.stopped", consumer=self.name, why=self.stopped)

    # ---- parked keys -----------------------------------------------------------------------

    async def _append_behind_parked(self, uow: UnitOfWork, record: Record) -> bool:
        """Keep the order of a key: while an earlier record waits, later ones wait behind it."""
        if not self._may_have_parked:
            return False
        if waits := await self._parking.holds_key_of(uow.connection, record):
            await self._parking.add(uow.connection, record, 0, "waits behind its key", 0)
        return waits

    async def _park(self, record: Record, error: Exception) -> None:
        async with self._database.unit_of_work() as uow:
            delay = self._patience.delays[0]
            await self._parking.add(uow.connection, record, 1, _described(error), delay)
            await self._store_positions(uow, _after([record]))
        self._may_have_parked = True
        self._count(record, "parked")
        log.warning("consumer.parked", consumer=self.name, topic=record.topic, key=record.key,
                    offset=record.offset, error=repr(error), exc_info=error)  # fmt: skip

    async def _retry_parked(self, subscription: Subscription) -> None:
        """Try what is due and then what waited behind it, while that goes well."""
        while self._may_have_parked and self.stopped is None:
            if not await self._retry_due(subscription.assigned()):
                return

    async def _retry_due(self, mine: set[TopicPartition]) -> bool:
        """Whether any went well."""
        async with self._database.read() as connection:
            heads = await self._parking.heads(connection)
        # Other members park for their own partitions; those come with a new assignment.
        self._may_have_parked = bool(heads)
        moment = clock.now()
        due = [w for w in heads if w.due_at <= moment and _place(w.record) in mine]
        return any([await self._retry(waiting) for waiting in due])

    async def _retry(self, waiting: Waiting) -> bool:
        try:
            work = await self._prepare(waiting.record)
            async with self._database.unit_of_work() as uow:
                await self._apply(uow, work)
                await parking.remove(uow.connection, waiting)
        except Exception as error:  # noqa: BLE001  (decided below)
            await self._retry_failed(waiting, error)
            return False
        self._poisoned = 0
        self._count(waiting.record, "handled")
        return True

    async def _retry_failed(self, waiting: Waiting, error: Exception) -> None:
        attempts, delays = waiting.attempts + 1, self._patience.delays
        async with self._database.unit_of_work() as uow:
            if _may_pass(error) or (attempts <= len(delays) and not _is_hopeless(error)):
                delay = delays[min(attempts, len(delays)) - 1]
                said = _described(error)
                await parking.postpone(uow.connection, waiting, attempts, said, delay)
                return
            await dead_letters.bury(uow, self.name, waiting.record, error, attempts)
            await parking.remove(uow.connection, waiting)
        self._buried(waiting.record, error)

    # ---- positions -------------------------------------------------------------------------

    async def _load_positions(self, partitions: set[TopicPartition]) -> Positions:
        self._may_have_parked = True
        query = sa.select(positions).where(positions.c.consumer == self.name)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        stored = {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}
        return {place: stored[place] for place in partitions if place in stored}

    async def _store_positions(self, uow: UnitOfWork, reached: Positions) -> None:
        for place, offset in reached.items():
            row = {"consumer": self.name, "topic": place.topic, "partition": place.partition,
                   "next_offset": offset}  # fmt: skip
            await upsert(uow.connection, positions, row, update=("next_offset",))

    def _count(self, record: Record, outcome: str) -> None:
        self._metrics.events_consumed.labels(self.name, record.topic, outcome).inc()


def _place(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _after(records: Sequence[Record]) -> dict[TopicPartition, int]:
    return {_place(record): record.offset + 1 for record in records}


def _may_pass(error: Exception) -> bool:
    return isinstance(error, UnavailableError)


def _is_hopeless(error: Exception) -> bool:
    return isinstance(error, UndecodableError)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

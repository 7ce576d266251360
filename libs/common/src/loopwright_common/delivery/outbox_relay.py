"""Outbox to bus: unpublished rows go out in order, and are marked once the bus has kept them.

Each process of a service publishes when it has emitted, one of them at a time and whatever waits
from any of them. So no process need wake another, which NOTIFY would pay for with a lock at every
commit; the poll finds what a process that died had left.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.bus import EventBus
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.database import Database, in_values, inbox, outbox
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.events import TOPICS
from loopwright_common.failpoints import failpoint
from loopwright_common.observability.metrics import Metrics

_BATCH = 200
_POLL_SECONDS = 2.0
_MEASURE_SECONDS = 5.0
_FORGET_SECONDS = 3600.0
_KEPT = timedelta(days=1)
# Longer than any record can be read again.
_CLAIMS_KEPT = 2 * max(topic.retention for topic in TOPICS.values())
log = structlog.get_logger()


class OutboxRelay:
    """Publishes what its service emitted; at least once, in order per key and topic."""

    def __init__(self, database: Database, bus: EventBus, metrics: Metrics) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._forget_at = 0.0
        self._measure_at = 0.0
        self._single_rows_left = 0
        self._oldest: datetime | None = None
        metrics.outbox_oldest_age.set_function(self._age)

    async def run(self) -> None:
        """Until cancelled; rows that the bus does not take are tried again with capped backoff.

        UnavailableError where the database cannot say, after rows were published, how many wait.
        """
        failures = 0
        while True:
            self._database.outbox_filled.clear()
            try:
                await self._publish_all()
            except LoopwrightError as error:
                failures += 1
                await self._not_published(error, failures)
            else:
                failures = 0
                self._database.outbox_fault = None
                await self._measure_now_and_then()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._database.outbox_filled.wait()

    async def publish_some(self, database: Database | None = None) -> int:
        """Publish the next rows; returns how many there were.

        UnavailableError while the bus or the database is away: rows may be published twice then.
        """
        database = database or self._database
        waiting = sa.select(outbox).where(outbox.c.published_at.is_(None))
        async with database.read() as connection:
            query = waiting.order_by(outbox.c.position).limit(self._batch_size())
            rows = (await connection.execute(query)).all()
        if rows:
            await self._publish(database, rows)
        return len(rows)

    def _batch_size(self) -> int:
        """After a failure row by row, so that those before the one that fails are marked."""
        return 1 if self._single_rows_left else _BATCH

    async def _publish_all(self) -> None:
        async with self._database.advisory_lock("relay") as database:
            more = True
            while more:
                limit = self._batch_size()
                # What is emitted meanwhile wakes the relay once more.
                more = await self.publish_some(database) == limit
            if time.monotonic() >= self._forget_at:
                await self.forget(database)

    async def _publish(self, database: Database, rows: Sequence[sa.Row[Any]]) -> None:
        outgoing = [
            OutgoingRecord(r.aggregatetype, r.aggregateid, r.headers, r.payload) for r in rows
        ]
        try:
            await self._bus.publish(outgoing)
        except BaseException:
            self._single_rows_left = _BATCH
            raise
        self._single_rows_left = max(0, self._single_rows_left - 1)
        failpoint(f"{self._database.service}.published")
        async with database.unit_of_work() as uow:
            these = in_values(uow.connection, outbox.c.position, [row.position for row in rows])
            marked = sa.update(outbox).where(these).values(published_at=clock.now())
            await uow.connection.execute(marked)
        failpoint(f"{self._database.service}.marked")
        for row in rows:
            self._metrics.events_published.labels(row.type).inc()

    async def _not_published(self, error: LoopwrightError, failures: int) -> None:
        self._database.outbox_fault = str(error)
        log.warning("relay.delayed", error=str(error), failures=failures)
        with suppress(UnavailableError):
            await self._measure_now_and_then()
        await asyncio.sleep(min(0.1 * 2**failures, 10))

    async def _measure_now_and_then(self) -> None:
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + _MEASURE_SECONDS
        async with self._database.read() as connection:
            count, self._oldest = await count_unpublished(connection)
        self._metrics.outbox_pending.set(count)

    def _age(self) -> float:
        """The age of the row that waits longest, in seconds."""
        return (clock.now() - self._oldest).total_seconds() if self._oldest else 0.0

    async def forget(self, database: Database | None = None) -> None:
        """Delete what was published, and what was claimed, too long ago to come up again."""
        self._forget_at = time.monotonic() + _FORGET_SECONDS
        database = database or self._database
        published = outbox.c.published_at < clock.now() - _KEPT
        claimed = inbox.c.handled_at < clock.now() - _CLAIMS_KEPT
        async with database.unit_of_work() as uow:
            await uow.connection.execute(sa.delete(outbox).where(published))
            await uow.connection.execute(sa.delete(inbox).where(claimed))


async def count_unpublished(connection: AsyncConnection) -> tuple[int, datetime | None]:
    """How many events wait for the relay, and when the first of them was emitted."""
    query = sa.select(sa.func.count(), sa.func.min(outbox.c.created_at))
    count, oldest = (await connection.execute(query.where(outbox.c.published_at.is_(None)))).one()
    return count, oldest

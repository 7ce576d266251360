"""Outbox to bus: unpublished rows go out in order, and are marked once the bus has kept them."""

import asyncio
import time
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.bus import EventBus
from loopwright_common.codec import Outgoing
from loopwright_common.database import Database
from loopwright_common.delivery_tables import inbox, outbox
from loopwright_common.errors import UnavailableError
from loopwright_common.events import TOPICS
from loopwright_common.failpoints import failpoint
from loopwright_common.metrics import Metrics

_BATCH = 200
_POLL_SECONDS = 5.0
_PRUNE_SECONDS = 3600.0
_KEPT = timedelta(days=1)
# Longer than any record can be read again.
_CLAIMS_KEPT = 2 * max(topic.retention for topic in TOPICS.values())
log = structlog.get_logger()


class Relay:
    """Publishes what its service emitted; at least once, in order per key and topic."""

    def __init__(self, database: Database, bus: EventBus, metrics: Metrics) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._prune_at = 0.0

    async def run(self) -> None:
        """Until cancelled; a bus that is away is retried with capped backoff."""
        failures = 0
        while True:
            self._database.outbox_filled.clear()
            try:
                while await self.publish_some():
                    failures = 0
                await self._prune_now_and_then()
            except UnavailableError as error:
                failures += 1
                log.warning("relay.delayed", error=str(error), failures=failures)
                await asyncio.sleep(min(0.1 * 2**failures, 10))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._database.outbox_filled.wait()

    async def publish_some(self) -> bool:
        """Publish the next rows; False when there was none."""
        query = (
            sa.select(outbox)
            .where(outbox.c.published_at.is_(None))
            .order_by(outbox.c.position)
            .limit(_BATCH)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return False
        await self._bus.publish(
            [Outgoing(r.aggregatetype, r.aggregateid, r.headers, r.payload) for r in rows]
        )
        failpoint(f"{self._database.service}.published")
        async with self._database.unit_of_work() as uow:
            await uow.connection.execute(
                sa.update(outbox)
                .where(outbox.c.position.in_([r.position for r in rows]))
                .values(published_at=clock.now())
            )
        failpoint(f"{self._database.service}.marked")
        for row in rows:
            self._metrics.events_published.labels(row.type).inc()
        return True

    async def _prune_now_and_then(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_SECONDS
        published = outbox.c.published_at < clock.now() - _KEPT
        claimed = inbox.c.handled_at < clock.now() - _CLAIMS_KEPT
        async with self._database.unit_of_work() as uow:
            await uow.connection.execute(sa.delete(outbox).where(published))
            await uow.connection.execute(sa.delete(inbox).where(claimed))


async def oldest_unpublished(connection: AsyncConnection) -> datetime | None:
    """When the event that has waited longest for the relay was emitted."""
    query = sa.select(outbox.c.created_at).where(outbox.c.published_at.is_(None))
    found: datetime | None = await connection.scalar(query.order_by(outbox.c.position).limit(1))
    return found

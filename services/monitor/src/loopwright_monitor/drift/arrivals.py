"""Which logged batches came: every (replica, epoch) numbers its batches of a model from 0."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.inference import InferenceLogged
from loopwright_common.sql import upsert
from loopwright_monitor.tables import arrivals, models


@dataclass(frozen=True, slots=True)
class Arrival:
    """The number expected next, and how many rows the replica said it had to drop so far."""

    next: int = 0
    dropped: int = 0

    def missed(self, sequence: int) -> int:
        """Batches skipped before this one; -1 where it fills a gap."""
        return sequence - self.next if sequence >= self.next else -1

    def after(self, sequence: int, dropped: int) -> "Arrival":
        return Arrival(max(self.next, sequence + 1), max(self.dropped, dropped))


class Arrivals:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def note(self, batch: InferenceLogged) -> None:
        """Count what is missing before the batch; once per batch."""
        before = await self._get(batch)
        now = before.after(batch.sequence, batch.dropped)
        row = {"model_id": batch.model_id, "replica": batch.replica, "epoch": batch.epoch,
               "next": now.next, "dropped": now.dropped, "heard_at": clock.now()}  # fmt: skip
        await upsert(self._connection, arrivals, row, update=("next", "dropped", "heard_at"))
        missed, dropped = before.missed(batch.sequence), now.dropped - before.dropped
        if missed or dropped:
            await self._connection.execute(
                sa.update(models)
                .where(models.c.model_id == batch.model_id)
                .values(missed=models.c.missed + missed, dropped=models.c.dropped + dropped)
            )

    async def forget(self, before: datetime) -> None:
        """Epochs that have not been heard of since."""
        await self._connection.execute(sa.delete(arrivals).where(arrivals.c.heard_at < before))

    async def _get(self, batch: InferenceLogged) -> Arrival:
        query = sa.select(arrivals.c.next, arrivals.c.dropped).where(
            arrivals.c.model_id == batch.model_id,
            arrivals.c.replica == batch.replica,
            arrivals.c.epoch == batch.epoch,
        )
        row = (await self._connection.execute(query)).first()
        return Arrival(*row) if row else Arrival()

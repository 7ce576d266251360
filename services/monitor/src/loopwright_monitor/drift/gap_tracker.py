"""Which logged batches came: every (replica, epoch) numbers its batches of a model from 0."""

from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.cloudevents import InferenceLogged
from loopwright_common.database import upsert
from loopwright_monitor.store.tables import arrivals
from loopwright_monitor.watched.repository import WatchedModels, has_later_epoch


@dataclass(frozen=True, slots=True)
class ReplicaProgress:
    """The number expected next, how many rows the replica had to drop, whether it has stopped."""

    next: int = 0
    dropped: int = 0
    ended: bool = False

    def missed(self, sequence: int) -> int:
        """Batches skipped before this one; -1 where it fills a gap."""
        return sequence - self.next if sequence >= self.next else -1

    def after(self, batch: InferenceLogged) -> "ReplicaProgress":
        """With the batch, which may come again or late."""
        return ReplicaProgress(
            max(self.next, batch.sequence + 1),
            max(self.dropped, batch.dropped),
            self.ended or batch.last,
        )


class GapTracker:
    """The progress of each replica in the numbers of its batches, stored."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def record_batch(self, batch: InferenceLogged) -> None:
        """Count what is missing before the batch; once per batch."""
        before = await self._get(batch)
        now = before.after(batch)
        values = {**asdict(now), "heard_at": clock.now()}
        row = {"model_id": batch.model_id, "replica": batch.replica, "epoch": batch.epoch, **values}
        await upsert(self._connection, arrivals, row, update=tuple(values))
        missed, dropped = before.missed(batch.sequence), now.dropped - before.dropped
        if missed or dropped:
            models = WatchedModels(self._connection)
            await models.count_seen(batch.model_id, missed=missed, dropped=dropped)

    async def forget_before(self, model_id: str, before: datetime) -> None:
        """The model's epochs that are over and have not been heard of since.

        One that only had nothing to say goes on where it was.
        """
        old = (arrivals.c.model_id == model_id, arrivals.c.heard_at < before)
        over = sa.or_(arrivals.c.ended, has_later_epoch())
        await self._connection.execute(sa.delete(arrivals).where(*old, over))

    async def _get(self, batch: InferenceLogged) -> ReplicaProgress:
        query = sa.select(arrivals.c.next, arrivals.c.dropped, arrivals.c.ended).where(
            arrivals.c.model_id == batch.model_id,
            arrivals.c.replica == batch.replica,
            arrivals.c.epoch == batch.epoch,
        )
        row = (await self._connection.execute(query)).first()
        return ReplicaProgress(*row) if row else ReplicaProgress()

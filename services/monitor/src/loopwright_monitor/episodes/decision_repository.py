"""Every query about decisions."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_monitor.episodes.repository import Episode
from loopwright_monitor.episodes.retraining_policy import RetrainingDecision
from loopwright_monitor.store.tables import decisions


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision as it was written down."""

    position: int
    model_id: str
    model: str
    episode: str
    at: datetime
    verdict: str
    reason: str
    sentence: str


class RecordedDecisions:
    """Decisions about episodes, in the order in which they were made."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, episode: Episode, decision: RetrainingDecision, at: datetime) -> None:
        row = {
            "model_id": episode.model_id,
            "model": episode.model,
            "episode": episode.id,
            "at": at,
            "verdict": decision.verdict,
            "reason": decision.reason,
            "sentence": decision.sentence,
        }
        await self._connection.execute(sa.insert(decisions).values(row))

    async def latest_reason(self, episode: str) -> str | None:
        query = sa.select(decisions.c.reason).where(decisions.c.episode == episode)
        query = query.order_by(decisions.c.position.desc()).limit(1)
        return cast(str | None, await self._connection.scalar(query))

    async def page(
        self, model: str | None, before: int | None, limit: int
    ) -> list[RecordedDecision]:
        """At most `limit` decisions, newest first, below the position `before`."""
        query = sa.select(decisions).order_by(decisions.c.position.desc()).limit(limit)
        if model is not None:
            query = query.where(decisions.c.model == model)
        if before is not None:
            query = query.where(decisions.c.position < before)
        return [RecordedDecision(*row) for row in (await self._connection.execute(query)).all()]

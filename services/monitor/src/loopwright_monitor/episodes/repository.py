"""Every query about episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import Cause
from loopwright_common.events import DriftDetected, DriftKind
from loopwright_monitor.store.tables import episodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Drift from its alarm until a new version takes over; `cause` is the event that told it."""

    id: str
    model_id: str
    model: str
    version: int
    kind: DriftKind
    opened_at: datetime
    cause: Cause
    features: list[dict[str, Any]]
    since_row: int
    since_time: datetime | None
    rows_seen: int
    asks: int = 0
    closed_at: datetime | None = None
    closed_why: str | None = None
    position: int = 0

    @classmethod
    def from_event(cls, data: DriftDetected, cause: Cause, at: datetime) -> "Episode":
        return cls(
            id=data.episode,
            model_id=data.model_id,
            model=data.model,
            version=data.version,
            kind=data.kind,
            opened_at=at,
            cause=cause,
            features=[feature.model_dump(mode="json") for feature in data.features],
            since_row=data.since.row,
            since_time=data.since.time,
            rows_seen=data.rows_seen,
        )


class Episodes:
    """Episodes of drift, open and closed, in the order in which they began."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def is_known(self, episode: str) -> bool:
        query = sa.select(episodes.c.id).where(episodes.c.id == episode)
        return await self._connection.scalar(query) is not None

    async def open(self, episode: Episode) -> None:
        row = {
            "id": episode.id,
            "model_id": episode.model_id,
            "model": episode.model,
            "version": episode.version,
            "kind": episode.kind,
            "opened_at": episode.opened_at,
            "cause": episode.cause.to_json(),
            "features": episode.features,
            "since_row": episode.since_row,
            "since_time": episode.since_time,
            "rows_seen": episode.rows_seen,
        }
        await self._connection.execute(sa.insert(episodes).values(row))

    async def unclosed(self, model_id: str | None = None) -> list[Episode]:
        """Open episodes, oldest first, of one model or of all."""
        conditions: list[sa.ColumnElement[bool]] = [episodes.c.closed_at.is_(None)]
        if model_id is not None:
            conditions.append(episodes.c.model_id == model_id)
        query = sa.select(episodes).where(*conditions).order_by(episodes.c.position)
        return [_episode(row) for row in (await self._connection.execute(query)).mappings()]

    async def page(self, model: str | None, before: int | None, limit: int) -> list[Episode]:
        """At most `limit` episodes, newest first, below the position `before`."""
        query = sa.select(episodes).order_by(episodes.c.position.desc()).limit(limit)
        if model is not None:
            query = query.where(episodes.c.model == model)
        if before is not None:
            query = query.where(episodes.c.position < before)
        return [_episode(row) for row in (await self._connection.execute(query)).mappings()]

    async def count_ask(self, ids: Sequence[str]) -> None:
        await self._connection.execute(
            sa.update(episodes).where(episodes.c.id.in_(ids)).values(asks=episodes.c.asks + 1)
        )

    async def close(self, model_id: str, at: datetime, why: str) -> list[Episode]:
        """Close all open episodes of the model; returns them."""
        closed = await self.unclosed(model_id)
        await self._connection.execute(
            sa.update(episodes)
            .where(episodes.c.id.in_([episode.id for episode in closed]))
            .values(closed_at=at, closed_why=why)
        )
        return closed


def _episode(row: Any) -> Episode:
    return Episode(**{**row, "cause": Cause.from_json(row["cause"])})

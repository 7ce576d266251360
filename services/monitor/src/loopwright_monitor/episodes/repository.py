"""Every query about episodes, requests and decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import Cause, upsert
from loopwright_common.events import DriftDetected, DriftKind, Event, Payload
from loopwright_monitor.episodes.retraining_policy import RetrainingDecision
from loopwright_monitor.store.tables import decisions, episodes, outcomes, requests


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
        """Newest first, below the position `before`."""
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


@dataclass(frozen=True, slots=True)
class RetrainingRequest:
    """A retraining asked for by `event`; `captured` rows were kept of the model by then.

    `version` is what it registered, once its run has said so.
    """

    position: int
    model_id: str
    pipeline: str
    episode: str
    event: str
    chain_id: str
    version: int | None
    at: datetime
    captured: int
    ended_at: datetime | None
    ended_why: str | None


class RetrainingRequests:
    """Retrainings that were asked for, and how each of them ended."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, episode: Episode, event: Event[Payload], captured: int) -> None:
        row = {
            "model_id": episode.model_id,
            "pipeline": event.key,
            "episode": episode.id,
            "event": event.id,
            "chain_id": event.chain_id,
            "at": event.time,
            "captured": captured,
        }
        await self._connection.execute(sa.insert(requests).values(row))

    async def count_since(self, model_id: str, start: datetime) -> int:
        query = sa.select(sa.func.count()).select_from(requests)
        query = query.where(requests.c.model_id == model_id, requests.c.at >= start)
        return int((await self._connection.scalar(query)) or 0)

    async def latest(self, model_id: str) -> RetrainingRequest | None:
        query = sa.select(requests).where(requests.c.model_id == model_id)
        query = query.order_by(requests.c.position.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        return None if row is None else RetrainingRequest(*row)

    async def in_flight(self, pipeline: str | None = None) -> list[RetrainingRequest]:
        query = sa.select(requests).where(requests.c.ended_at.is_(None))
        if pipeline is not None:
            query = query.where(requests.c.pipeline == pipeline)
        return [RetrainingRequest(*row) for row in (await self._connection.execute(query)).all()]

    async def unanswered(self, asked_before: datetime) -> list[RetrainingRequest]:
        """Requests of before then whose runs have not said how they ended."""
        silent = (requests.c.ended_at.is_(None), requests.c.version.is_(None))
        query = sa.select(requests).where(*silent, requests.c.at < asked_before)
        return [RetrainingRequest(*row) for row in (await self._connection.execute(query)).all()]

    async def set_version(self, request: RetrainingRequest, version: int) -> None:
        this = requests.c.position == request.position
        await self._connection.execute(sa.update(requests).where(this).values(version=version))

    async def end(self, request: RetrainingRequest, at: datetime, why: str) -> None:
        this = requests.c.position == request.position
        ended = {"ended_at": at, "ended_why": why}
        await self._connection.execute(sa.update(requests).where(this).values(ended))


class DeploymentOutcomes:
    """How deployments ended: their word may come before that of the run that made the version."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, model_id: str, version: int, why: str) -> None:
        row = {"model_id": model_id, "version": version, "why": why}
        await upsert(self._connection, outcomes, row, update=("why",))

    async def get(self, model_id: str, version: int) -> str | None:
        query = sa.select(outcomes.c.why).where(
            outcomes.c.model_id == model_id, outcomes.c.version == version
        )
        return (await self._connection.execute(query)).scalar()


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
        """Newest first, below the position `before`."""
        query = sa.select(decisions).order_by(decisions.c.position.desc()).limit(limit)
        if model is not None:
            query = query.where(decisions.c.model == model)
        if before is not None:
            query = query.where(decisions.c.position < before)
        return [RecordedDecision(*row) for row in (await self._connection.execute(query)).all()]


def _episode(row: Any) -> Episode:
    return Episode(**{**row, "cause": Cause.from_json(row["cause"])})

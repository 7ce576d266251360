"""Every query about retrainings that were asked for, and about how deployments ended."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.events import Event, Payload
from loopwright_monitor.episodes.repository import Episode
from loopwright_monitor.store.tables import outcomes, requests


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
        """How many were asked for at or after `start`."""
        query = sa.select(sa.func.count()).select_from(requests)
        query = query.where(requests.c.model_id == model_id, requests.c.at >= start)
        return int((await self._connection.scalar(query)) or 0)

    async def latest(self, model_id: str) -> RetrainingRequest | None:
        query = sa.select(requests).where(requests.c.model_id == model_id)
        query = query.order_by(requests.c.position.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        return None if row is None else RetrainingRequest(*row)

    async def in_flight(self, pipeline: str | None = None) -> list[RetrainingRequest]:
        """Requests that have not ended, of one pipeline or of all."""
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

"""Queries on which attempt may write to a run."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_registry.mlflow.sql import upsert
from loopwright_registry.runs.domain import (
    PIPELINE_RUN_TAG,
    UNDER_WAY,
    RunAttempt,
    token_digest,
)
from loopwright_registry.runs.tables import run_attempts, run_tags, runs


class RunAttempts:
    """Reads and writes the attempts that hold runs, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def holding(self, run_ids: Sequence[str]) -> dict[str, RunAttempt]:
        """Which attempt holds each of the runs that are held."""
        held = run_attempts.c
        query = sa.select(held.run_id, held.attempt, held.sha256).where(held.run_id.in_(run_ids))
        rows = (await self._connection.execute(query)).all()
        return {run_id: RunAttempt(number, sha256) for run_id, number, sha256 in rows}

    async def proved_by(self, bearer: str | None) -> RunAttempt | None:
        """The attempt whose token it is, whichever runs that holds; None for any other caller."""
        if not bearer:
            return None
        held = run_attempts.c
        query = sa.select(held.attempt, held.sha256).where(held.sha256 == token_digest(bearer))
        row = (await self._connection.execute(query.limit(1))).first()
        return RunAttempt(*row) if row else None

    async def under_way_in(self, experiment_id: int) -> tuple[str, RunAttempt] | None:
        """A pipeline run of the experiment that has not ended, and the attempt that holds it."""
        held = run_attempts.c
        query = (
            sa.select(runs.c.run_id, held.attempt, held.sha256)
            .join_from(runs, run_attempts, runs.c.run_id == held.run_id)
            .where(runs.c.experiment_id == experiment_id, runs.c.status.in_(UNDER_WAY))
            .where(
                sa.exists().where(
                    run_tags.c.run_id == runs.c.run_id, run_tags.c.key == PIPELINE_RUN_TAG
                )
            )
        )
        row = (await self._connection.execute(query.limit(1))).first()
        return (row.run_id, RunAttempt(row.attempt, row.sha256)) if row else None

    async def save(self, run_id: str, attempt: RunAttempt) -> None:
        row = {"run_id": run_id, "attempt": attempt.number, "sha256": attempt.sha256}
        await upsert(self._connection, run_attempts, [row])

    async def fenced_within(self, uri: str) -> list[str]:
        """The runs that an attempt holds and whose artifacts lie below the URI."""
        below = sa.and_(runs.c.artifact_uri > f"{uri}/", runs.c.artifact_uri < f"{uri}0")
        query = sa.select(runs.c.run_id).join_from(
            runs, run_attempts, runs.c.run_id == run_attempts.c.run_id
        )
        return list((await self._connection.scalars(query.where(below))).all())

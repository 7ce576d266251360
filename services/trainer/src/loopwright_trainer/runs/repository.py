"""Every query of the trainer: rows in, frozen records out."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.sandbox import Level
from loopwright_trainer.runs.domain import (
    UNFINISHED,
    Output,
    PipelineRun,
    Repository,
    RunStatus,
    StageRun,
    StageState,
    StepEntry,
    kept_text,
)
from loopwright_trainer.runs.tables import repositories, runs, stage_runs, step_entries


class Repositories:
    """The registered git repositories, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Repository | None:
        return await self._one(repositories.c.name == name)

    async def of_pipeline(self, pipeline: str) -> Repository | None:
        return await self._one(repositories.c.pipeline == pipeline)

    async def all(self, after: str = "", limit: int = 1000) -> list[Repository]:
        query = sa.select(repositories).where(repositories.c.name > after)
        rows = await self._connection.execute(query.order_by(repositories.c.name).limit(limit))
        return [_repository(row) for row in rows]

    async def insert(self, repository: Repository) -> bool:
        """False if there is one of that name."""
        return await upsert(self._connection, repositories, _columns(repository))

    async def update(self, name: str, **changes: object) -> None:
        await self._connection.execute(
            sa.update(repositories).where(repositories.c.name == name).values(**changes)
        )

    async def delete(self, name: str) -> bool:
        """False if there was none."""
        gone = await self._connection.execute(
            sa.delete(repositories).where(repositories.c.name == name)
        )
        return gone.rowcount == 1

    async def _one(self, condition: sa.ColumnElement[bool]) -> Repository | None:
        row = (await self._connection.execute(sa.select(repositories).where(condition))).first()
        return _repository(row) if row else None


class PipelineRuns:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, run: PipelineRun) -> None:
        await self._connection.execute(sa.insert(runs).values(_columns(run)))

    async def save(self, run: PipelineRun) -> None:
        await self._connection.execute(
            sa.update(runs).where(runs.c.id == run.id).values(_columns(run))
        )

    async def update(self, run_id: str, **changes: object) -> None:
        await self._connection.execute(sa.update(runs).where(runs.c.id == run_id).values(**changes))

    async def get(self, run_id: str) -> PipelineRun | None:
        found = await self._where(runs.c.id == run_id)
        return found[0] if found else None

    async def queued(self, repository: str) -> list[PipelineRun]:
        """The waiting runs of a repository; at most one for each ref, beside retries."""
        return await self._where(runs.c.repository == repository, runs.c.status == RunStatus.QUEUED)

    async def next_queued(self) -> PipelineRun | None:
        """The oldest waiting run whose repository has none running."""
        busy = sa.select(runs.c.repository).where(runs.c.status == RunStatus.RUNNING)
        found = await self._where(
            runs.c.status == RunStatus.QUEUED, runs.c.repository.not_in(busy), limit=1
        )
        return found[0] if found else None

    async def running(self) -> list[PipelineRun]:
        return await self._where(runs.c.status == RunStatus.RUNNING)

    async def to_cancel(self, run_ids: Collection[str]) -> list[PipelineRun]:
        """Those of these runs that somebody wants to end."""
        return await self._where(runs.c.id.in_(run_ids), runs.c.cancel_requested)

    async def has_commit(self, repository: str, commit: str) -> bool:
        found = await self._where(runs.c.repository == repository, runs.c.commit == commit, limit=1)
        return bool(found)

    async def newest_registered(self, repository: str) -> PipelineRun | None:
        """The newest run that registered a version."""
        found = await self._newest(
            runs.c.repository == repository, runs.c.status == RunStatus.SUCCEEDED, limit=1
        )
        return found[0] if found else None

    async def page(
        self, before: str | None, limit: int, repository: str | None, pipeline: str | None
    ) -> list[PipelineRun]:
        """Newest first; ids are ordered by time."""
        conditions = [
            *([runs.c.id < before] if before else []),
            *([runs.c.repository == repository] if repository else []),
            *([runs.c.pipeline == pipeline] if pipeline else []),
        ]
        return await self._newest(*conditions, limit=limit)

    async def _where(
        self, *conditions: sa.ColumnElement[bool], limit: int = 1000
    ) -> list[PipelineRun]:
        query = sa.select(runs).where(*conditions).order_by(runs.c.id).limit(limit)
        return [_run(row) for row in await self._connection.execute(query)]

    async def _newest(self, *conditions: sa.ColumnElement[bool], limit: int) -> list[PipelineRun]:
        query = sa.select(runs).where(*conditions).order_by(runs.c.id.desc()).limit(limit)
        return [_run(row) for row in await self._connection.execute(query)]


class StageRuns:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def of_run(self, run_id: str) -> list[StageRun]:
        query = sa.select(stage_runs).where(stage_runs.c.run_id == run_id)
        rows = await self._connection.execute(query.order_by(stage_runs.c.ordinal))
        return [_stage_run(row) for row in rows]

    async def run_of_step(self, key: str) -> str | None:
        """The run in which a step with this key goes on."""
        query = sa.select(stage_runs.c.run_id).where(
            stage_runs.c.key == key, stage_runs.c.state == StageState.RUNNING
        )
        run_id: str | None = await self._connection.scalar(query)
        return run_id

    async def add_missing(self, stages: Sequence[StageRun]) -> None:
        for stage in stages:
            await upsert(self._connection, stage_runs, _columns(stage))

    async def save(self, stage: StageRun) -> None:
        columns = _columns(stage)
        await upsert(self._connection, stage_runs, columns, update=list(columns))

    async def close_unfinished(self, run_id: str) -> None:
        """Mark those that the run did not bring to an end."""
        unfinished = stage_runs.c.state.in_((StageState.PENDING, StageState.RUNNING))
        await self._connection.execute(
            sa.update(stage_runs)
            .where(stage_runs.c.run_id == run_id, unfinished)
            .values(state=StageState.SKIPPED, why=UNFINISHED, pid=None, pid_started=None)
        )


class StepEntries:
    """The kept results of steps, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key: str) -> StepEntry | None:
        query = sa.select(step_entries).where(step_entries.c.key == key)
        row = (await self._connection.execute(query)).first()
        return _entry(row) if row else None

    async def newest(self, repository: str, stage: str, limit: int = 20) -> list[StepEntry]:
        """The kept results of a stage, newest first."""
        query = (
            sa.select(step_entries)
            .where(step_entries.c.repository == repository, step_entries.c.stage == stage)
            .order_by(step_entries.c.kept_at.desc())
            .limit(limit)
        )
        return [_entry(row) for row in await self._connection.execute(query)]

    async def save(self, entry: StepEntry) -> None:
        columns = _columns(entry)
        await upsert(self._connection, step_entries, columns, update=list(columns))

    async def all(self) -> list[StepEntry]:
        """Newest first."""
        query = sa.select(step_entries).order_by(step_entries.c.kept_at.desc(), step_entries.c.key)
        return [_entry(row) for row in await self._connection.execute(query)]

    async def delete(self, entry: StepEntry) -> bool:
        """False if it is gone, or was kept anew since."""
        same = (step_entries.c.key == entry.key, step_entries.c.kept_at == entry.kept_at)
        gone = await self._connection.execute(sa.delete(step_entries).where(*same))
        return gone.rowcount == 1


def _columns(record: Repository | PipelineRun | StageRun | StepEntry) -> dict[str, Any]:
    columns = asdict(record)
    if "why" in columns:
        columns["why"] = kept_text(columns["why"])
    return columns


def _repository(row: sa.Row[Any]) -> Repository:
    fields = row._asdict()
    fields["branches"] = tuple(row.branches) if row.branches is not None else None
    return Repository(**fields)


def _run(row: sa.Row[Any]) -> PipelineRun:
    fields = row._asdict()
    fields["status"] = RunStatus(row.status)
    fields["paths"] = tuple(row.paths) if row.paths is not None else None
    return PipelineRun(**fields)


def _stage_run(row: sa.Row[Any]) -> StageRun:
    fields = row._asdict()
    fields["state"] = StageState(row.state)
    fields["outputs"] = _outputs(row.outputs)
    fields["sandbox"] = Level(row.sandbox) if row.sandbox else None
    return StageRun(**fields)


def _entry(row: sa.Row[Any]) -> StepEntry:
    fields = row._asdict()
    fields["outputs"] = _outputs(row.outputs)
    fields["sandbox"] = Level(row.sandbox) if row.sandbox else None
    return StepEntry(**fields)


def _outputs(stored: list[dict[str, Any]]) -> tuple[Output, ...]:
    return tuple(Output(**output) for output in stored)

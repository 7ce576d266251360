"""Use cases of the trainer: repositories, and runs from their start to their end."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

import structlog

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError, TooLargeError
from loopwright_common.events import (
    CodeChanged,
    StageOutcome,
    TrainingFinished,
)
from loopwright_trainer.pipelines.pipeline import Pipeline
from loopwright_trainer.runs.domain import (
    UNFINISHED,
    EndStatus,
    Outcome,
    PipelineRun,
    Repository,
    RunStatus,
    StageRun,
    StageState,
    kept_text,
)
from loopwright_trainer.runs.repository import PipelineRuns, Repositories, StageRuns

QUEUE_LOCK = "queue"
"""Locked by whoever decides which runs wait, start or are withdrawn."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ends; one with status `skipped` is not announced."""

    status: RunStatus
    why: str


# ---- repositories ----------------------------------------------------------------------------


async def add_repository(uow: UnitOfWork, name: str, url: str, branch: str) -> Repository:
    """Watch a repository; ConflictError where one of that name is watched."""
    repository = Repository(name=name, url=url, branch=branch, added_at=clock.now())
    if not await Repositories(uow.connection).insert(repository):
        raise ConflictError(f"there is a repository {name} already; remove it first")
    return repository


async def get_repository(uow: UnitOfWork, name: str) -> Repository:
    """The repository of that name; NotFoundError when there is none."""
    repository = await Repositories(uow.connection).get(name)
    if repository is None:
        raise NotFoundError(f"no repository {name}; add it with `loopwright repositories add`")
    return repository


async def remove_repository(uow: UnitOfWork, name: str) -> None:
    """Its waiting runs are cancelled; ConflictError while one is running.

    NotFoundError when there is none.
    """
    await uow.lock(QUEUE_LOCK)
    runs = PipelineRuns(uow.connection)
    if any(run.repository == name for run in await runs.running()):
        raise ConflictError(f"a run of {name} is going on; cancel it first")
    for waiting in await runs.queued(name):
        await finish_run(
            uow, waiting, RunOutcome(RunStatus.CANCELLED, "its repository was removed")
        )
    if not await Repositories(uow.connection).delete(name):
        raise NotFoundError(f"no repository {name}")


async def announce_commit(uow: UnitOfWork, change: CodeChanged) -> bool:
    """Say `code-changed`, once per new head; False if this commit is the known head.

    ConflictError when the head is not `change.before` any more: another replica announced one.
    """
    await uow.lock(f"repositories/{change.repository}")
    repositories = Repositories(uow.connection)
    repository = await repositories.get(change.repository)
    if repository is None or repository.head == change.commit:
        return False
    if repository.head != change.before:
        raise ConflictError(f"the head of {repository.name} has changed meanwhile; try again")
    await repositories.update(repository.name, head=change.commit, problem=None)
    subject = f"repositories/{repository.name}"
    await uow.emit(change, key=repository.name, subject=subject)
    return True


# ---- runs ------------------------------------------------------------------------------------


async def record_pipeline(uow: UnitOfWork, run: PipelineRun, pipeline: Pipeline) -> None:
    """Note what the pipeline file says; ConflictError if another repository has its name."""
    await uow.lock(f"pipelines/{pipeline.name}")
    repositories = Repositories(uow.connection)
    owner = await repositories.of_pipeline(pipeline.name)
    if owner and owner.name != run.repository:
        raise ConflictError(
            f"pipeline {pipeline.name} belongs to repository {owner.name}; "
            "give this one another name with `pipeline:`"
        )
    watched = list(pipeline.code.branches) if pipeline.code.branches else None
    await repositories.update(run.repository, pipeline=pipeline.name, branches=watched)
    await PipelineRuns(uow.connection).update(run.id, pipeline=pipeline.name)


async def request_cancellation(uow: UnitOfWork, run_id: str) -> PipelineRun:
    """A waiting run ends here; a running one is marked, and the worker stops it.

    NotFoundError without the run, ConflictError for one that has ended.
    """
    await uow.lock(QUEUE_LOCK)
    runs = PipelineRuns(uow.connection)
    run = await runs.get(run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id}")
    if run.ended:
        raise ConflictError(f"run {run_id} has ended: {run.status}")
    if run.status is RunStatus.QUEUED:
        return await finish_run(uow, run, RunOutcome(RunStatus.CANCELLED, "cancelled by a person"))
    await runs.update(run_id, cancel_requested=True)
    return replace(run, cancel_requested=True)


async def finish_run(uow: UnitOfWork, run: PipelineRun, ending: RunOutcome) -> PipelineRun:
    """End a run and say so, once; stages that were not reached are marked."""
    stages = StageRuns(uow.connection)
    rows = [_closed(row) for row in await stages.of_run(run.id)]
    for row in rows:
        await stages.save(row)
    ended = replace(run, status=ending.status, why=kept_text(ending.why), finished_at=clock.now())
    await PipelineRuns(uow.connection).save(ended)
    if ending.status is not RunStatus.SKIPPED:
        uow.follow(Cause.from_json(dict(run.cause)), f"loopwright/trainer/{run.id}")
        await _announce_end(uow, ended, rows)
    return ended


async def give_run_up(uow: UnitOfWork, run: PipelineRun, ending: RunOutcome) -> PipelineRun:
    """End a run whose end `finish_run` cannot record: say no more than that, and why."""
    await StageRuns(uow.connection).close_unfinished(run.id)
    ended = replace(run, status=ending.status, why=kept_text(ending.why), finished_at=clock.now())
    changes = {"status": ended.status, "why": ended.why, "finished_at": ended.finished_at}
    await PipelineRuns(uow.connection).update(run.id, **changes)
    with suppress(KeyError, TypeError, ValueError):
        uow.follow(Cause.from_json(dict(run.cause)), f"loopwright/trainer/{run.id}")
    await _announce_end(uow, ended, ())
    return ended


async def _announce_end(uow: UnitOfWork, ended: PipelineRun, rows: Sequence[StageRun]) -> None:
    """With what an event has room for: the stages' metrics may be too many."""
    pipeline = ended.pipeline or ended.repository
    outcomes = [_outcome(row) for row in rows]
    brief = [outcome.model_copy(update={"metrics": {}}) for outcome in outcomes]
    for told in (outcomes, brief, []):
        try:
            await uow.emit(
                _training_finished(ended, pipeline, told),
                key=pipeline,
                subject=f"pipelines/{pipeline}",
                identity=f"runs/{ended.id}",
            )
        except TooLargeError as error:
            log.warning("run.end-shortened", run=ended.id, error=str(error))
        else:
            return


def _closed(row: StageRun) -> StageRun:
    if row.state in (StageState.PENDING, StageState.RUNNING):
        why = "not reached" if row.state is StageState.PENDING else UNFINISHED
        return replace(row, state=StageState.SKIPPED, why=why, pid=None, pid_started=None)
    return row


def _training_finished(
    run: PipelineRun, pipeline: str, stages: list[StageOutcome]
) -> TrainingFinished:
    started, finished = run.started_at or run.created_at, run.finished_at or clock.now()
    return TrainingFinished(
        pipeline=pipeline,
        run_id=run.id,
        commit=run.commit or "",
        reason=run.reason,
        status=cast("EndStatus", run.status.value),
        why=run.why,
        stages=stages,
        model=run.model,
        version=run.version,
        tracking_run_id=run.tracking_run_id,
        seconds=round((finished - started).total_seconds(), 3),
    )


def _outcome(row: StageRun) -> StageOutcome:
    return StageOutcome(
        name=row.name,
        outcome=cast("Outcome", row.state.value),
        why=row.why,
        seconds=round(row.seconds, 3),
        metrics=dict(row.metrics),
    )

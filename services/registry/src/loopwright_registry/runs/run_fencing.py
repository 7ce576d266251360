"""Which attempt of a pipeline run may write to its MLflow run: the newest, known by its token."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from loopwright_common.database import UnitOfWork
from loopwright_common.errors import ConflictError, RefusedError
from loopwright_registry.mlflow.endpoint import MlflowContext
from loopwright_registry.runs.attempt_repository import RunAttempts
from loopwright_registry.runs.domain import RunAttempt
from loopwright_registry.runs.repository import Runs


async def fence_run(uow: UnitOfWork, run_id: str, attempt: RunAttempt) -> None:
    """Give the run to an attempt: from the commit on, no earlier attempt writes to the run.

    The run is under way again, if it had ended. ConflictError unless the attempt is newer than the
    one that holds the run, NotFoundError without the run, InvalidError for a deleted one.
    """
    attempts, runs = RunAttempts(uow.connection), Runs(uow.connection)
    # So that its experiment is deleted before, or not at all.
    await uow.lock(f"experiment/{(await runs.info(run_id)).experiment_id}")
    await uow.lock(_lock(run_id))
    (await runs.info(run_id)).require_active()
    holder = (await attempts.holding([run_id])).get(run_id)
    if holder and holder.number >= attempt.number:
        raise ConflictError(
            f"attempt {holder.number} holds run {run_id}, so attempt {attempt.number} cannot"
        )
    await attempts.save(run_id, attempt)
    await runs.update(run_id, status="RUNNING", end_ms=None)


async def require_no_attempt(uow: UnitOfWork, bearer: str | None, experiment_id: int) -> None:
    """Admit what changes all runs of an experiment, which the caller has locked.

    RefusedError for an attempt, which writes to its own runs only; ConflictError while an attempt
    of a run in the experiment is under way.
    """
    attempts = RunAttempts(uow.connection)
    if await attempts.proved_by(bearer):
        raise RefusedError(
            f"experiment {experiment_id} is not of this attempt, which writes to its own runs"
        )
    if found := await attempts.under_way_in(experiment_id):
        run_id, attempt = found
        raise ConflictError(
            f"attempt {attempt.number} of run {run_id} in experiment {experiment_id} is under way; "
            "cancel its pipeline run, or come again when it has ended"
        )


async def require_attempt(uow: UnitOfWork, bearer: str | None, *run_ids: str) -> None:
    """Admit this caller alone to writing to the runs until the end of the transaction.

    RefusedError where an attempt with another token holds one. A run that none holds is open, but
    not to an attempt: that writes to its own runs only.
    """
    await uow.lock(*map(_lock, run_ids))
    attempts = RunAttempts(uow.connection)
    holders = await attempts.holding(run_ids)
    for run_id, holder in holders.items():
        if not holder.admits(bearer):
            raise RefusedError(
                f"run {run_id} belongs to a newer attempt; this attempt was superseded"
            )
    others = sorted(set(run_ids) - set(holders))
    if others and await attempts.proved_by(bearer):
        raise RefusedError(f"run {others[0]} is not of this attempt, which writes to its own runs")


async def hold_new_run(uow: UnitOfWork, bearer: str | None, run_id: str) -> None:
    """Give a run to the attempt that makes it, if one does."""
    attempts = RunAttempts(uow.connection)
    if attempt := await attempts.proved_by(bearer):
        await attempts.save(run_id, attempt)


@asynccontextmanager
async def fenced_write(context: MlflowContext, run_id: str) -> AsyncGenerator[UnitOfWork, None]:
    """A transaction in which only this caller writes to the run.

    RefusedError where an attempt with another token holds it.
    """
    async with context.database.unit_of_work() as uow:
        await require_attempt(uow, context.bearer, run_id)
        yield uow


def _lock(run_id: str) -> str:
    return f"run/{run_id}"

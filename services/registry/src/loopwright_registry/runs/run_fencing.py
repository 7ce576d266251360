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

    ConflictError unless the attempt is newer than the one that holds the run, NotFoundError without
    the run.
    """
    attempts = RunAttempts(uow.connection)
    await uow.lock(_lock(run_id))
    await Runs(uow.connection).info(run_id)
    holder = (await attempts.holding([run_id])).get(run_id)
    if holder and holder.number >= attempt.number:
        raise ConflictError(
            f"attempt {holder.number} holds run {run_id}, so attempt {attempt.number} cannot"
        )
    await attempts.save(run_id, attempt)


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

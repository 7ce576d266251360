"""The right to do a run: one trainer at a time has it, and a late one can write nothing."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from loopwright_common import clock
from loopwright_common.database import Database, UnitOfWork, leases
from loopwright_common.database.leases import Lease
from loopwright_common.failpoints import failpoint
from loopwright_trainer.runs.domain import PipelineRun, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns, Repositories
from loopwright_trainer.runs.service import QUEUE_LOCK


@dataclass(frozen=True, slots=True)
class RunLease:
    """Whoever writes for a run writes here; LeaseLostError once another trainer has it."""

    database: Database
    lease: Lease
    length: timedelta

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[UnitOfWork, None]:
        """A transaction that commits only while the run is ours."""
        async with self.database.unit_of_work() as uow:
            await leases.confirm(uow, self.lease)
            yield uow


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this trainer may do, and the lease under which it does."""

    run: PipelineRun
    lease: Lease


async def claim_next_run(
    uow: UnitOfWork,
    length: timedelta = leases.LEASE,
    ours: Collection[str] = (),
    let_go: Collection[str] = (),
) -> ClaimedRun | None:
    """The next run to do here: one whose trainer left it, else the oldest that waits.

    `ours` are the runs that go on in this process, `let_go` those that it had and could not keep.
    A trainer that did not release its run counts as one that died.
    """
    await uow.lock(QUEUE_LOCK)
    runs = PipelineRuns(uow.connection)
    for listed in await runs.running():
        if listed.id in ours:
            continue
        died = listed.id not in let_go and await leases.is_abandoned(uow, _lease_name(listed))
        if lease := await _lease(uow, listed, length):
            if again := await _taken_over(uow, listed.id, died):
                return ClaimedRun(again, lease)
            await leases.release(uow, lease)
    waiting = await runs.next_queued()
    if waiting is None or not (lease := await _lease(uow, waiting, length)):
        return None
    started = await _started(uow, waiting)
    await runs.save(started)
    failpoint("trainer.claimed")
    return ClaimedRun(started, lease)


async def _lease(uow: UnitOfWork, run: PipelineRun, length: timedelta) -> Lease | None:
    return await leases.acquire(uow, _lease_name(run), length)


def _lease_name(run: PipelineRun) -> str:
    return f"run/{run.id}"


async def _taken_over(uow: UnitOfWork, run_id: str, died: bool) -> PipelineRun | None:
    """The run for another attempt; None when its end freed the lease after it was listed."""
    runs = PipelineRuns(uow.connection)
    current = await runs.get(run_id)
    if current is None or current.ended:
        return None
    again = replace(current, attempts=current.attempts + 1, deaths=current.deaths + died)
    await runs.save(again)
    return again


async def _started(uow: UnitOfWork, run: PipelineRun) -> PipelineRun:
    """The run with its commit and captured rows pinned from now on."""
    repository = await Repositories(uow.connection).get(run.repository)
    started = replace(run, status=RunStatus.RUNNING, attempts=1, started_at=clock.now())
    if repository is None or run.retry_of:
        return started
    commit = run.commit or repository.head
    return replace(started, commit=commit, captured=repository.captured)

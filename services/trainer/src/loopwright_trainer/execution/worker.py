"""Does the waiting runs: one at a time for a repository, a few at a time in all."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog

from loopwright_common.database import leases
from loopwright_common.database.database import Database
from loopwright_common.database.leases import LeaseLostError
from loopwright_common.database.unit_of_work import Cause
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_common.observability import tracing
from loopwright_trainer.execution.executor import RunContext, RunExecutor
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns, StageRuns
from loopwright_trainer.runs.run_lease import ClaimedRun, RunLease, claim_next_run
from loopwright_trainer.runs.service import RunOutcome
from loopwright_trainer.steps import environment, orphans
from loopwright_trainer.steps.logs import HOST

_LOOK_SECONDS = 1.0
_MOST_ATTEMPTS = 3
log = structlog.get_logger()


class RunWorker:
    """Runs whose trainer died go on first; `wake` is called when one may wait."""

    def __init__(self, workshop: RunContext, parallel: int, lease: timedelta) -> None:
        self._shop = workshop
        self._parallel = parallel
        self._lease = lease
        self._changed = asyncio.Event()
        self._going_on: dict[str, asyncio.Task[None]] = {}
        self._undecided: dict[str, asyncio.Task[None]] = {}
        """Of those going on, the ones that may still be cancelled."""
        self._to_cancel: set[str] = set()

    @property
    def _database(self) -> Database:
        return self._shop.database

    def wake(self) -> None:
        self._changed.set()

    def cancel(self, run_id: str) -> None:
        """Stop a run that is going on here, its processes with it."""
        if task := self._undecided.pop(run_id, None):
            self._to_cancel.add(run_id)
            task.cancel()

    async def run(self) -> None:
        """Until cancelled; runs then stop with their processes, and go on wherever a trainer is."""
        await asyncio.to_thread(environment.warm_up)
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._cancel_asked()
                    await self._claim(group)
                except UnavailableError as error:
                    log.warning("worker.paused", error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._changed.wait()
                self._changed.clear()

    async def _cancel_asked(self) -> None:
        """Stop what somebody cancelled by way of another replica."""
        if not self._undecided:
            return
        async with self._database.read() as connection:
            asked = await PipelineRuns(connection).to_cancel(list(self._undecided))
        for run in asked:
            self.cancel(run.id)

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        while len(self._going_on) < self._parallel:
            async with self._database.unit_of_work() as uow:
                claim = await claim_next_run(uow, self._lease, self._going_on)
            if claim is None:
                return
            self._start(group, claim)

    def _start(self, group: asyncio.TaskGroup, claim: ClaimedRun) -> None:
        run_id = claim.run.id
        task = group.create_task(self._do(claim))
        self._going_on[run_id] = self._undecided[run_id] = task
        task.add_done_callback(lambda _: self._over(run_id))

    def _over(self, run_id: str) -> None:
        self._going_on.pop(run_id, None)
        self._undecided.pop(run_id, None)
        self._to_cancel.discard(run_id)
        self.wake()

    async def _do(self, claim: ClaimedRun) -> None:
        """Bring a run to its end, unless another trainer takes it over or the database is away."""
        tenure = RunLease(self._database, claim.lease, self._lease)
        try:
            async with leases.keeping(self._database, claim.lease, self._lease):
                run = claim.run
                led_here = Cause.from_json(dict(run.cause)).traceparent
                with tracing.span("trainer", f"run {run.pipeline or run.repository}", led_here):
                    await self._bring_to_end(run, tenure)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("run.lost", run=claim.run.id, error=str(error))

    async def _bring_to_end(self, run: PipelineRun, tenure: RunLease) -> None:
        if run.attempts > 1:
            await self._reap(run)
        journey = RunExecutor(self._shop, run, tenure)
        try:
            ending = await self._ending(journey)
        except asyncio.CancelledError:
            if run.id not in self._to_cancel:
                raise
            ending = RunOutcome(RunStatus.CANCELLED, "cancelled by a person")
        self._undecided.pop(run.id, None)
        await journey.close(_TRACKING_STATUS.get(ending.status, "FINISHED"))
        failpoint("trainer.finishing")
        await self._finish(journey.run, tenure, ending)

    async def _reap(self, run: PipelineRun) -> None:
        """Kill what the run's earlier attempts left running on this host."""
        async with self._database.read() as connection:
            rows = await StageRuns(connection).of_run(run.id)
        leaders = [
            (row.pid, row.pid_started)
            for row in rows
            if row.host == HOST and row.pid is not None and row.pid_started is not None
        ]
        await asyncio.to_thread(orphans.reap, run.id, leaders)

    async def _ending(self, journey: RunExecutor) -> RunOutcome:
        run = journey.run
        if run.cancel_requested:
            return RunOutcome(RunStatus.CANCELLED, "cancelled by a person")
        if run.attempts > _MOST_ATTEMPTS:
            why = f"the trainer died {_MOST_ATTEMPTS} times during this run"
            return RunOutcome(RunStatus.FAILED, why)
        try:
            return await journey.travel()
        except LeaseLostError:
            raise
        except LoopwrightError as error:
            return RunOutcome(RunStatus.FAILED, str(error))
        except OSError as error:
            return RunOutcome(RunStatus.FAILED, f"on the trainer's machine: {error}")
        except Exception as error:
            log.exception("run.failed-unexpectedly", run=run.id)
            return RunOutcome(RunStatus.FAILED, f"a fault of the trainer: {error!r}")

    async def _finish(self, run: PipelineRun, tenure: RunLease, ending: RunOutcome) -> None:
        """Record the end, however long the database is away."""
        while True:
            try:
                async with tenure.writing() as uow:
                    await service.finish_run(uow, run, ending)
            except UnavailableError as error:
                log.warning("worker.paused", error=str(error))
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                self._shop.metrics.run_ended(ending.status)
                log.info("run.ended", run=run.id, pipeline=run.pipeline or run.repository,
                         status=ending.status.value, why=ending.why)  # fmt: skip
                return


_TRACKING_STATUS = {RunStatus.FAILED: "FAILED", RunStatus.CANCELLED: "KILLED"}

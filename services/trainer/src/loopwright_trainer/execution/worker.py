"""Does the waiting runs: one at a time for a repository, a few at a time in all."""

import asyncio
from datetime import timedelta

import structlog

from loopwright_common.database import Database, leases
from loopwright_common.database.leases import LeaseLostError
from loopwright_common.delivery import RetryPolicy
from loopwright_common.errors import LoopwrightError, UnavailableError, described, without_paths
from loopwright_common.observability import tracing
from loopwright_common.process.worker_loop import work_on_wake
from loopwright_trainer.execution.executor import RunExecutor
from loopwright_trainer.execution.run_closing import RunClosing
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.runs.domain import PipelineRun, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns, StageRuns
from loopwright_trainer.runs.run_lease import ClaimedRun, RunLease, claim_next_run
from loopwright_trainer.runs.service import RunOutcome
from loopwright_trainer.steps import environment, orphans
from loopwright_trainer.steps.logs import HOST

_POLL_SECONDS = 1.0
_MAX_DEATHS = 3
_RETRIES = RetryPolicy()
log = structlog.get_logger()


class RunWorker:
    """Executes the runs that wait, those of a trainer that died first; `wake` it when one may wait.

    At most `parallel` go on at a time; another trainer may have a run once this one was silent for
    `lease`.
    """

    def __init__(self, context: RunContext, parallel: int, lease: timedelta) -> None:
        self._context = context
        self._parallel = parallel
        self._lease_length = lease
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancellable: dict[str, asyncio.Task[None]] = {}
        """The runs going on that may still be cancelled, by id."""
        self._to_cancel: set[str] = set()
        self._let_go: set[str] = set()
        """The runs that were lost or interrupted here, and may come back."""
        self._faults: dict[str, tuple[int, str]] = {}
        """How often a run was interrupted in a row, and by what."""

    @property
    def _database(self) -> Database:
        return self._context.database

    def wake(self) -> None:
        """Look for waiting runs now; call it once they can be read."""
        self._wake.set()

    def cancel(self, run_id: str) -> None:
        """Stop a run that is going on here, its processes with it."""
        if task := self._cancellable.pop(run_id, None):
            self._to_cancel.add(run_id)
            task.cancel()

    async def run(self) -> None:
        """Until cancelled; runs then stop with their processes, and go on wherever a trainer is."""
        await asyncio.to_thread(environment.warm_up)
        async with asyncio.TaskGroup() as group:

            async def claim_and_cancel() -> None:
                await self._cancel_requested()
                await self._claim(group)

            name = "trainer.runs"
            await work_on_wake(self._wake, claim_and_cancel, name=name, every=_POLL_SECONDS)

    async def _cancel_requested(self) -> None:
        """Stop what somebody cancelled by way of another replica."""
        if not self._cancellable:
            return
        async with self._database.read() as connection:
            requested = await PipelineRuns(connection).to_cancel(list(self._cancellable))
        for run in requested:
            self.cancel(run.id)

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        while len(self._running) < self._parallel:
            async with self._database.unit_of_work() as uow:
                claim = await claim_next_run(uow, self._lease_length, self._running, self._let_go)
            if claim is None:
                return
            self._start(group, claim)

    def _start(self, group: asyncio.TaskGroup, claim: ClaimedRun) -> None:
        run_id = claim.run.id
        self._let_go.discard(run_id)
        task = group.create_task(self._execute(claim))
        self._running[run_id] = self._cancellable[run_id] = task
        task.add_done_callback(lambda _: self._forget(run_id))

    def _forget(self, run_id: str) -> None:
        self._running.pop(run_id, None)
        self._cancellable.pop(run_id, None)
        self._to_cancel.discard(run_id)
        self.wake()

    async def _execute(self, claim: ClaimedRun) -> None:
        """Bring a run to its end, unless another trainer takes it over or the database is away."""
        lease = RunLease(self._database, claim.lease, self._lease_length)
        try:
            async with leases.keep_renewed(self._database, claim.lease, self._lease_length):
                run = claim.run
                parent = run.cause.get("traceparent")
                with tracing.span("trainer", f"run {run.pipeline or run.repository}", parent):
                    await self._execute_to_end(run, lease)
        except (LeaseLostError, UnavailableError) as error:
            self._let_go.add(claim.run.id)
            log.warning("run.lost", run=claim.run.id, error=str(error))
        except Exception as error:
            # One run that cannot be done must not end the others; it is tried again, and given up.
            self._let_go.add(claim.run.id)
            failures, _ = self._faults.get(claim.run.id, (0, ""))
            self._faults[claim.run.id] = failures + 1, described(error)
            log.exception("run.interrupted", run=claim.run.id, failures=failures + 1)
            await asyncio.sleep(_RETRIES.delay(failures + 1))

    async def _execute_to_end(self, run: PipelineRun, lease: RunLease) -> None:
        if run.attempts > 1 and not self._given_up(run.id):
            await self._reap(run)
        executor = RunExecutor(self._context, run, lease)
        try:
            outcome = await self._outcome(executor)
        except asyncio.CancelledError:
            if run.id not in self._to_cancel:
                raise
            outcome = RunOutcome(RunStatus.CANCELLED, "cancelled by a person")
        self._cancellable.pop(run.id, None)
        outcome = await RunClosing(executor, lease, outcome).close()
        self._context.metrics.count_run(outcome.status)
        log.info("run.ended", run=run.id, pipeline=executor.run.pipeline or run.repository,
                 status=outcome.status.value, why=outcome.why)  # fmt: skip
        self._faults.pop(run.id, None)

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

    def _given_up(self, run_id: str) -> str | None:
        """Why a run that was interrupted here again and again is not done any more."""
        failures, fault = self._faults.get(run_id, (0, ""))
        if failures <= len(_RETRIES.delays):
            return None
        return f"a fault of the trainer, {failures} times in a row: {fault}"

    def _not_done(self, run: PipelineRun) -> RunOutcome | None:
        """How a run ends that is not done, or not any more."""
        if run.cancel_requested:
            return RunOutcome(RunStatus.CANCELLED, "cancelled by a person")
        why = self._given_up(run.id)
        if run.deaths >= _MAX_DEATHS:
            why = f"the trainer died {run.deaths} times during this run"
        return RunOutcome(RunStatus.FAILED, why) if why else None

    async def _outcome(self, executor: RunExecutor) -> RunOutcome:
        run = executor.run
        if ended := self._not_done(run):
            return ended
        try:
            return await executor.execute()
        except LeaseLostError:
            raise
        except LoopwrightError as error:
            return RunOutcome(RunStatus.FAILED, str(error))
        except OSError as error:
            return RunOutcome(RunStatus.FAILED, f"on the trainer's machine: {without_paths(error)}")
        except Exception as error:
            log.exception("run.failed-unexpectedly", run=run.id)
            return RunOutcome(
                RunStatus.FAILED,
                f"a fault of the trainer: {described(error)}",
            )

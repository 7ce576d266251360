"""Does the waiting runs: one at a time for a repository, a few at a time in all."""

import asyncio
from contextlib import suppress

import structlog

from loopwright_common.database import Database
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_trainer import service
from loopwright_trainer.domain import Run, RunStatus
from loopwright_trainer.repository import Runs, StageRuns
from loopwright_trainer.run import Journey, Workshop
from loopwright_trainer.service import Ending
from loopwright_trainer.steps import environment, orphans

_LOOK_SECONDS = 1.0
_MOST_ATTEMPTS = 3
log = structlog.get_logger()


class Worker:
    """Runs that a crash interrupted go on first; `wake` is called when one may wait."""

    def __init__(self, workshop: Workshop, parallel: int) -> None:
        self._shop = workshop
        self._parallel = parallel
        self._changed = asyncio.Event()
        self._going_on: dict[str, asyncio.Task[None]] = {}
        self._to_cancel: set[str] = set()

    @property
    def _database(self) -> Database:
        return self._shop.database

    def wake(self) -> None:
        self._changed.set()

    def cancel(self, run_id: str) -> None:
        """Stop a run that is going on here, its processes with it."""
        self._to_cancel.add(run_id)
        if task := self._going_on.get(run_id):
            task.cancel()

    async def run(self) -> None:
        """Until cancelled; runs then stop with their processes, and go on at the next start."""
        await asyncio.to_thread(environment.warm_up)
        interrupted = await self._interrupted()
        async with asyncio.TaskGroup() as group:
            for run in interrupted:
                self._start(group, run)
            while True:
                await self._claim(group)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._changed.wait()
                self._changed.clear()

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        while len(self._going_on) < self._parallel:
            try:
                async with self._database.unit_of_work() as uow:
                    run = await service.claim_next(uow)
            except UnavailableError as error:
                log.warning("worker.paused", error=str(error))
                return
            if run is None:
                return
            self._start(group, run)

    async def _interrupted(self) -> list[Run]:
        """Runs of before a crash, after their left-over processes were killed."""
        async with self._database.unit_of_work() as uow:
            runs = await Runs(uow.connection).running()
            rows = {run.id: await StageRuns(uow.connection).of_run(run.id) for run in runs}
            resumed = [await service.resume(uow, run) for run in runs]
        for run in runs:
            for row in rows[run.id] or ():
                await asyncio.to_thread(orphans.reap, run.id, row.pid, row.pid_started)
        return resumed

    def _start(self, group: asyncio.TaskGroup, run: Run) -> None:
        task = group.create_task(self._do(run))
        self._going_on[run.id] = task
        task.add_done_callback(lambda _: self._over(run.id))

    def _over(self, run_id: str) -> None:
        self._going_on.pop(run_id, None)
        self._to_cancel.discard(run_id)
        self.wake()

    async def _do(self, run: Run) -> None:
        journey = Journey(self._shop, run)
        try:
            ending = await self._ending(journey)
        except asyncio.CancelledError:
            if run.id not in self._to_cancel:
                raise
            ending = Ending(RunStatus.CANCELLED, "cancelled by a person")
        await journey.close(_TRACKING_STATUS.get(ending.status, "FINISHED"))
        failpoint("trainer.finishing")
        await self._finish(journey.run, ending)

    async def _ending(self, journey: Journey) -> Ending:
        run = journey.run
        if run.cancel_requested:
            return Ending(RunStatus.CANCELLED, "cancelled by a person")
        if run.attempts > _MOST_ATTEMPTS:
            why = f"the trainer died {_MOST_ATTEMPTS} times during this run"
            return Ending(RunStatus.FAILED, why)
        try:
            return await journey.travel()
        except LoopwrightError as error:
            return Ending(RunStatus.FAILED, str(error))
        except OSError as error:
            return Ending(RunStatus.FAILED, f"on the trainer's machine: {error}")
        except Exception as error:
            log.exception("run.failed-unexpectedly", run=run.id)
            return Ending(RunStatus.FAILED, f"a fault of the trainer: {error!r}")

    async def _finish(self, run: Run, ending: Ending) -> None:
        """Record the end, however long the database is away."""
        while True:
            try:
                async with self._database.unit_of_work() as uow:
                    await service.finish(uow, run, ending)
            except UnavailableError as error:
                log.warning("worker.paused", error=str(error))
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                log.info("run.ended", run=run.id, pipeline=run.pipeline or run.repository,
                         status=ending.status.value, why=ending.why)  # fmt: skip
                return


_TRACKING_STATUS = {RunStatus.FAILED: "FAILED", RunStatus.CANCELLED: "KILLED"}

"""The end of a run: tidied up, recorded and announced, or given up with a reason that is seen."""

import asyncio

import structlog

from loopwright_common.database.leases import LeaseLostError
from loopwright_common.delivery import RetryPolicy
from loopwright_common.errors import UnavailableError, described
from loopwright_common.failpoints import failpoint
from loopwright_common.names import shown
from loopwright_trainer.execution.executor import RunExecutor
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import RunStatus, kept_text
from loopwright_trainer.runs.repository import PipelineRuns
from loopwright_trainer.runs.run_lease import RunLease
from loopwright_trainer.runs.service import RunOutcome

_POLL_SECONDS = 1.0
_RETRIES = RetryPolicy()
_TRACKING_STATUS = {RunStatus.FAILED: "FAILED", RunStatus.CANCELLED: "KILLED"}
log = structlog.get_logger()


class RunClosing:
    """Closes one run, whose lease is held meanwhile."""

    def __init__(self, executor: RunExecutor, lease: RunLease, outcome: RunOutcome) -> None:
        self._executor = executor
        self._lease = lease
        self._outcome = outcome
        self._is_tidy = self._is_given_up = False

    async def close(self) -> RunOutcome:
        """How the run ended, once that is recorded, however long the database is away.

        Any other fault is tried again with growing pauses, and ends the run as failed after some.
        LeaseLostError once another trainer has the run.
        """
        failures = 0
        while True:
            try:
                await self._try()
            except LeaseLostError:
                raise
            except UnavailableError as error:
                log.warning("worker.paused", worker="trainer.runs", error=str(error))
                await asyncio.sleep(_POLL_SECONDS)
            except Exception as error:
                failures += 1
                log.exception("run.not-closed", run=self._executor.run.id, failures=failures)
                await self._rest(error, failures)
            else:
                return self._outcome

    async def _try(self) -> None:
        if not self._is_tidy:
            await self._executor.close(_TRACKING_STATUS.get(self._outcome.status, "FINISHED"))
            self._is_tidy = True
        failpoint("trainer.finishing")
        record = service.give_run_up if self._is_given_up else service.finish_run
        async with self._lease.transaction() as uow:
            await record(uow, self._executor.run, self._outcome)

    async def _rest(self, error: Exception, failures: int) -> None:
        """Say why it is not closed, and pause; after so many failures end it with that reason."""
        meant = f"it was to be {self._outcome.status}: {self._outcome.why}"
        fault = shown(described(error))
        if self._is_given_up or not _RETRIES.gives_up(error, failures):
            await self._explain(f"tries again to record its end: {fault}; {meant}")
            await asyncio.sleep(_RETRIES.delay(failures))
            return
        why = f"its end could not be recorded: {fault}; {meant}"
        self._outcome, self._is_given_up = RunOutcome(RunStatus.FAILED, why), True
        try:
            await self._executor.close("FAILED")
        except Exception:
            log.exception("run.not-tidied-up", run=self._executor.run.id)
        self._is_tidy = True

    async def _explain(self, why: str) -> None:
        try:
            async with self._lease.transaction() as uow:
                runs = PipelineRuns(uow.connection)
                await runs.update(self._executor.run.id, why=kept_text(why))
        except LeaseLostError:
            raise
        except Exception:
            log.exception("run.not-explained", run=self._executor.run.id)

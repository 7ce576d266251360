"""The tracking run that a pipeline run has in the registry, as long as the run goes on."""

from collections.abc import Mapping
from dataclasses import replace

import structlog

from loopwright_common.errors import LoopwrightError
from loopwright_trainer.runs.domain import PipelineRun
from loopwright_trainer.runs.repository import PipelineRuns
from loopwright_trainer.runs.run_lease import RunLease
from loopwright_trainer.tracking import mlflow_registration
from loopwright_trainer.tracking.client import TrackingClient, TrackingRun

log = structlog.get_logger()


class TrackingSession:
    """The tracking run of a pipeline run, opened when first needed.

    Once it is opened here, `tracking` proves this attempt and earlier attempts are refused.
    """

    def __init__(self, lease: RunLease, tracking: TrackingClient, run: PipelineRun) -> None:
        self.run = run
        self.tracking = tracking
        self._lease = lease
        self._opened: TrackingRun | None = None

    async def open(self) -> TrackingRun:
        """The tracking run, made at the first call; UnavailableError while the registry is away.

        ConflictError where a newer attempt of the run is under way, LeaseLostError once another
        trainer has the run.
        """
        if self._opened is None:
            opened = await self._open()
            self.tracking = await self.tracking.fenced(opened.id, self.run.attempts)
            self._opened = opened
        return self._opened

    async def update_run(self, **changes: object) -> None:
        """Save columns of the run; LeaseLostError once another trainer has it."""
        async with self._lease.transaction() as uow:
            await PipelineRuns(uow.connection).update(self.run.id, **changes)
        self.run = replace(self.run, **changes)  # type: ignore[arg-type]

    async def close(self, status: str, metrics: Mapping[str, float]) -> None:
        """End the tracking run as FINISHED, FAILED or KILLED, if it was opened.

        A registry that is away does not matter here.
        """
        if self._opened is None:
            return
        tracking = self.tracking.without_retries()
        try:
            if metrics:
                await tracking.log_metrics(self._opened.id, metrics)
            await tracking.end_run(self._opened.id, status)
        except LoopwrightError as error:
            log.warning("tracking-run.left-open", run=self.run.id, error=str(error))

    async def _open(self) -> TrackingRun:
        if self.run.tracking_run_id:
            return await self.tracking.get_run(self.run.tracking_run_id)
        pipeline, commit = self.run.pipeline or self.run.repository, self.run.commit or ""
        opened = await mlflow_registration.open_run(
            self.tracking, pipeline, self.run.id, commit, resumed=self.run.attempts > 1
        )
        await self.update_run(tracking_run_id=opened.id)
        return opened

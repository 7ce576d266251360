"""One step of a run: reused when its key is known and its outputs verify, else run."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.failpoints import failpoint
from loopwright_common.files.beneath import Beneath
from loopwright_common.files.removal import remove_tree
from loopwright_common.observability import tracing
from loopwright_common.storage import ArtifactStore
from loopwright_trainer.metrics import TrainerMetrics
from loopwright_trainer.runs.domain import StageRun, StageState, StepEntry
from loopwright_trainer.runs.repository import StageRuns, StepEntries
from loopwright_trainer.steps import commands, logs, orphans, outputs
from loopwright_trainer.steps.commands import CommandFailedError, StageCommands
from loopwright_trainer.steps.confinement import StageConfinement
from loopwright_trainer.steps.gateway import OpenAccess, StageAccess
from loopwright_trainer.steps.key import KeyParts, step_key
from loopwright_trainer.steps.outputs import MissingOutputError
from loopwright_trainer.steps.reuse import ReuseVerdict, look_up
from loopwright_trainer.steps.single_flight import hold_step
from loopwright_trainer.steps.step import PipelineStep
from loopwright_trainer.steps.workspace import changed_inputs, fingerprint

_RETRY_SECONDS = 0.2


class StepFailedError(LoopwrightError):
    """A step failed, and its run with it."""


class StepRunner:
    """Steps of all runs; where two need the same step at once, it runs once."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        timeout: float,
        metrics: TrainerMetrics,
        confinement: StageConfinement,
    ) -> None:
        """`timeout` in seconds, for stages that name none."""
        self.confinement = confinement
        self._database = database
        self._store = store
        self._timeout = timeout
        self._metrics = metrics

    async def run(self, step: PipelineStep, open_access: OpenAccess) -> StageRun:
        """The finished row of the step, reused or run; StepFailedError once it has failed for good.

        LeaseLostError once another trainer has the run.
        """
        row = await self._reuse_or_run(step, open_access)
        self._metrics.count_step(reused=row.state is StageState.REUSED)
        return row

    async def _reuse_or_run(self, step: PipelineStep, open_access: OpenAccess) -> StageRun:
        try:
            parts = await asyncio.to_thread(step.parts)
            verdict = await self._look_up(step, parts)
            if verdict.entry:
                return await self._reuse(step, parts, verdict.entry, verdict.why)
            if not step.stage.cache:
                return await self._run_stage(step, parts, verdict.why, open_access)
            return await self._run_once(step, parts, open_access)
        except (InvalidError, MissingOutputError, CommandFailedError) as error:
            await self._record_failure(step, str(error))
            raise StepFailedError(f"{step.stage.name}: {error}") from error

    async def _run_once(
        self, step: PipelineStep, parts: KeyParts, open_access: OpenAccess
    ) -> StageRun:
        key, waited_for = step_key(parts), ""

        async def on_wait() -> None:
            nonlocal waited_for
            async with self._database.read() as connection:
                known = await StageRuns(connection).run_of_step(key)
            other = known or waited_for or "another run"
            if other != waited_for:
                waited_for = other
                why = _waits_for(other, step.run.id)
                await self._save(step, replace(step.row, state=StageState.PENDING, why=why))

        async with hold_step(step.lease, key, on_wait):
            verdict = await self._look_up(step, parts)
            if verdict.entry is None:
                return await self._run_stage(step, parts, verdict.why, open_access)
            why = f"{verdict.why}, waited for" if waited_for else verdict.why
            return await self._reuse(step, parts, verdict.entry, why)

    async def _look_up(self, step: PipelineStep, parts: KeyParts) -> ReuseVerdict:
        return await look_up(self._database, self._store, step.run.repository, step.stage, parts)

    async def _reuse(
        self, step: PipelineStep, parts: KeyParts, entry: StepEntry, why: str
    ) -> StageRun:
        row = replace(
            step.row,
            state=StageState.REUSED,
            why=why,
            key=step_key(parts),
            outputs=entry.outputs,
            metrics=entry.metrics,
            sandbox=entry.sandbox,
            seconds=time.monotonic() - step.started,
        )
        await self._save(step, row)
        return row

    # ---- running ---------------------------------------------------------------------------

    async def _run_stage(
        self, step: PipelineStep, parts: KeyParts, why: str, open_access: OpenAccess
    ) -> StageRun:
        access = await open_access()
        level = self.confinement.sandbox.level
        row = replace(step.row, key=step_key(parts), reusable=step.stage.cache, sandbox=level)
        step = replace(step, row=row)
        for attempt in range(step.stage.retries + 1):
            step = replace(step, row=replace(step.row, attempts=step.row.attempts + 1, why=why))
            try:
                row, changed = await self._attempt(step, access)
            except CommandFailedError:
                if attempt == step.stage.retries:
                    raise
                await asyncio.sleep(_RETRY_SECONDS * 2**attempt)
            else:
                return await self._record_result(step, row, parts, changed)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, step: PipelineStep, access: StageAccess) -> tuple[StageRun, list[str]]:
        """The row with its outputs, and the inputs that the stage changed."""
        with tracing.span("trainer", f"stage {step.stage.name}") as traceparent:
            # The variable's name is what OpenTelemetry's own tools read.
            environment = {**access.environment, "TRACEPARENT": traceparent}
            return await self._run_in_workspace(step, replace(access, environment=environment))

    async def _run_in_workspace(
        self, step: PipelineStep, access: StageAccess
    ) -> tuple[StageRun, list[str]]:
        stage, work = step.stage, step.directory.work
        await asyncio.to_thread(remove_tree, work)
        tree = work / "tree"
        tree.mkdir(parents=True)
        try:
            await step.inputs.materialise(stage, step.earlier, tree, self.confinement.disk)
            # Opened before the stage can put anything else in its place.
            with Beneath(tree) as workspace:
                before = await asyncio.to_thread(fingerprint, workspace, stage.outs)
                await commands.execute(
                    self._commands_of(step, access),
                    lambda pid, at: self._record_start(step, pid, at),
                )
                failpoint("trainer.stage-ended")
                changed = await asyncio.to_thread(changed_inputs, before, workspace)
                await asyncio.to_thread(
                    outputs.require_within, self.confinement.disk, workspace, stage.outs
                )
                row = await self._collect(step, workspace)
            return row, changed
        finally:
            await asyncio.to_thread(remove_tree, work)

    def _commands_of(self, step: PipelineStep, access: StageAccess) -> StageCommands:
        stage = step.stage
        marks = {orphans.MARK: step.run.id, "LOOPWRIGHT_STAGE": stage.name, **access.environment}
        home = step.directory.work / "home"
        return StageCommands(
            commands=stage.commands,
            workspace=step.directory.work,
            directory=step.directory.work / "tree" / stage.wdir,
            environment=commands.environment_for(home, seed=stage.seed, extra=marks),
            log=step.log,
            timeout=stage.timeout or self._timeout,
            confinement=self.confinement,
            registry=access.registry,
        )

    async def _record_start(self, step: PipelineStep, pid: int, at: float | None) -> None:
        failpoint("trainer.stage-begun")
        running = replace(step.row, state=StageState.RUNNING, host=logs.HOST)
        await self._save(step, replace(running, pid=pid, pid_started=at))
        failpoint("trainer.stage-started")

    async def _collect(self, step: PipelineStep, workspace: Beneath) -> StageRun:
        kept = [await outputs.store_output(self._store, workspace, out) for out in step.stage.outs]
        metrics: dict[str, float] = {}
        for file in step.stage.metrics:
            metrics |= await outputs.read_metrics(workspace, file)
        failpoint("trainer.outputs-kept")
        return replace(
            step.row,
            state=StageState.RAN,
            outputs=tuple(kept),
            metrics=metrics,
            seconds=time.monotonic() - step.started,
        )

    async def _record_result(
        self, step: PipelineStep, row: StageRun, parts: KeyParts, changed: Sequence[str]
    ) -> StageRun:
        """The row and the entry together; no entry where the stage changed its own inputs."""
        if changed:
            why = f"{row.why}; not kept for reuse: {', '.join(changed[:3])} changed while it ran"
            row = replace(row, why=why, reusable=False)
        row = replace(row, logs=await logs.store_logs(self._store, step.directory, row))
        async with step.lease.transaction() as uow:
            await StageRuns(uow.connection).save(row)
            if row.reusable:
                await StepEntries(uow.connection).save(_entry(step, row, parts))
        failpoint("trainer.stage-finished")
        return row

    async def _record_failure(self, step: PipelineStep, why: str) -> None:
        async with self._database.read() as connection:
            rows = await StageRuns(connection).of_run(step.run.id)
        row = next((row for row in rows if row.name == step.stage.name), step.row)
        seconds = time.monotonic() - step.started
        failed = replace(row, state=StageState.FAILED, why=why, seconds=seconds)
        printed = await logs.store_logs(self._store, step.directory, row)
        await self._save(step, replace(failed, logs=printed, pid=None, pid_started=None))

    async def _save(self, step: PipelineStep, row: StageRun) -> None:
        async with step.lease.transaction() as uow:
            await StageRuns(uow.connection).save(row)


def _waits_for(other: str, own: str) -> str:
    if other == own:
        return "waits until its own interrupted attempt is given up"
    return f"waits for {other if ' ' in other else f'run {other}'} which runs the same"


def _entry(step: PipelineStep, row: StageRun, parts: KeyParts) -> StepEntry:
    return StepEntry(
        key=row.key or "",
        stage=step.stage.name,
        repository=step.run.repository,
        run_id=step.run.id,
        commit=step.run.commit or "",
        parts=parts.to_json(),
        outputs=row.outputs,
        metrics=row.metrics,
        seconds=row.seconds,
        kept_at=clock.now(),
        sandbox=row.sandbox,
    )

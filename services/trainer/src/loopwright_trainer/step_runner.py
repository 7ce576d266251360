"""One step of a run: reused when its key is known and its outputs verify, else run."""

import asyncio
import shutil
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loopwright_common import clock
from loopwright_common.artifacts import ArtifactStore
from loopwright_common.database import Database
from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.failpoints import failpoint
from loopwright_trainer.domain import StageRun, StageState, StepEntry
from loopwright_trainer.repository import StageRuns, StepEntries
from loopwright_trainer.steps import execution, orphans, outputs
from loopwright_trainer.steps.execution import CommandFailedError, Job
from loopwright_trainer.steps.key import Parts, explain, nearest, step_key
from loopwright_trainer.steps.outputs import MissingOutputError
from loopwright_trainer.steps.step import Step
from loopwright_trainer.steps.workspace import edited, fingerprint

_RETRY_SECONDS = 0.2
ExtraEnvironment = Callable[[], Awaitable[Mapping[str, str]]]
"""What a stage's environment has beside the usual; asked for only when a stage really runs."""


class StepFailedError(LoopwrightError):
    """A step failed, and its run with it."""


class StepRunner:
    """Steps of all runs; two runs that need the same step at once run it once."""

    def __init__(self, database: Database, store: ArtifactStore, timeout: float) -> None:
        self._database = database
        self._store = store
        self._timeout = timeout
        self._flights: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def do(self, step: Step, extra: ExtraEnvironment) -> StageRun:
        """The finished row of the step; StepFailedError once it has failed for good."""
        try:
            parts = await asyncio.to_thread(step.parts)
            key = step_key(parts)
            async with self._flights[key]:
                entry, why = await self._look_up(step, key, parts)
                if entry:
                    return await self._reuse(step, key, entry, why)
                running = replace(step.row, key=key, reusable=step.stage.cache)
                return await self._run(replace(step, row=running), parts, why, extra)
        except (InvalidError, MissingOutputError, CommandFailedError) as error:
            await self._fail(step, str(error))
            raise StepFailedError(f"{step.stage.name}: {error}") from error

    # ---- reuse -----------------------------------------------------------------------------

    async def _look_up(self, step: Step, key: str, parts: Parts) -> tuple[StepEntry | None, str]:
        """The entry to reuse, or None; and the reason for either."""
        if not step.stage.cache:
            return None, "cache: false"
        async with self._database.read() as connection:
            entry = await StepEntries(connection).get(key)
            earlier = await StepEntries(connection).newest(step.run.repository, step.stage.name)
        if step.stage.frozen and earlier:
            entry = earlier[0]
        if entry is None:
            return None, _why_it_runs(parts, earlier)
        if gone := await outputs.unusable(self._store, entry.outputs):
            return None, f"out {gone} of run {entry.run_id[:8]} is gone from the store or damaged"
        origin = f"run {entry.run_id} (commit {entry.commit[:7]})"
        if step.stage.frozen:
            return entry, f"frozen: the result of {origin}"
        return entry, f"same command, inputs, params and environment as in {origin}"

    async def _reuse(self, step: Step, key: str, entry: StepEntry, why: str) -> StageRun:
        row = replace(
            step.row,
            state=StageState.REUSED,
            why=why,
            key=key,
            outputs=entry.outputs,
            metrics=entry.metrics,
            seconds=time.monotonic() - step.started,
        )
        await self._save(row)
        return row

    # ---- running ---------------------------------------------------------------------------

    async def _run(self, step: Step, parts: Parts, why: str, extra: ExtraEnvironment) -> StageRun:
        environment = await extra()
        for attempt in range(step.stage.retries + 1):
            step = replace(step, row=replace(step.row, attempts=step.row.attempts + 1, why=why))
            try:
                row, changed = await self._attempt(step, environment)
            except CommandFailedError:
                if attempt == step.stage.retries:
                    raise
                await asyncio.sleep(_RETRY_SECONDS * 2**attempt)
            else:
                return await self._keep(step, row, parts, changed)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(
        self, step: Step, environment: Mapping[str, str]
    ) -> tuple[StageRun, list[str]]:
        """The row with its outputs, and the inputs that the stage changed."""
        stage, work = step.stage, step.place.work
        await asyncio.to_thread(shutil.rmtree, work, True)
        tree = work / "tree"
        tree.mkdir(parents=True)
        try:
            await step.inputs.materialise(stage, step.earlier, tree)
            before = await asyncio.to_thread(fingerprint, tree, stage.outs)
            await execution.execute(
                self._job(step, environment), lambda pid, at: self._started(step.row, pid, at)
            )
            failpoint("trainer.stage-ended")
            after = await asyncio.to_thread(fingerprint, tree, stage.outs)
            row = await self._collected(step, tree)
            return row, edited(before, after)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, True)

    def _job(self, step: Step, environment: Mapping[str, str]) -> Job:
        stage = step.stage
        marks = {orphans.MARK: step.run.id, "LOOPWRIGHT_STAGE": stage.name, **environment}
        home = step.place.work / "home"
        return Job(
            commands=stage.commands,
            directory=step.place.work / "tree" / stage.wdir,
            environment=execution.environment_for(home, seed=stage.seed, extra=marks),
            log=step.log,
            timeout=stage.timeout or self._timeout,
        )

    async def _started(self, row: StageRun, pid: int, at: float | None) -> None:
        await self._save(replace(row, state=StageState.RUNNING, pid=pid, pid_started=at))
        failpoint("trainer.stage-started")

    async def _collected(self, step: Step, tree: Path) -> StageRun:
        kept = [await outputs.collect(self._store, tree, out) for out in step.stage.outs]
        metrics: dict[str, float] = {}
        for file in step.stage.metrics:
            metrics |= outputs.numeric_leaves((tree / file).read_bytes(), file)
        failpoint("trainer.outputs-kept")
        return replace(
            step.row,
            state=StageState.RAN,
            outputs=tuple(kept),
            metrics=metrics,
            seconds=time.monotonic() - step.started,
        )

    async def _keep(
        self, step: Step, row: StageRun, parts: Parts, changed: Sequence[str]
    ) -> StageRun:
        """The row and the entry together; no entry where the stage changed its own inputs."""
        if changed:
            why = f"{row.why}; not kept for reuse: {', '.join(changed[:3])} changed while it ran"
            row = replace(row, why=why, reusable=False)
        async with self._database.unit_of_work() as uow:
            await StageRuns(uow.connection).save(row)
            if row.reusable:
                await StepEntries(uow.connection).keep(_entry(step, row, parts))
        failpoint("trainer.stage-finished")
        return row

    async def _fail(self, step: Step, why: str) -> None:
        async with self._database.unit_of_work() as uow:
            stages = StageRuns(uow.connection)
            rows = await stages.of_run(step.run.id)
            row = next((row for row in rows if row.name == step.stage.name), step.row)
            seconds = time.monotonic() - step.started
            failed = replace(row, state=StageState.FAILED, why=why, seconds=seconds)
            await stages.save(replace(failed, pid=None, pid_started=None))

    async def _save(self, row: StageRun) -> None:
        async with self._database.unit_of_work() as uow:
            await StageRuns(uow.connection).save(row)


def _why_it_runs(parts: Parts, earlier: Sequence[StepEntry]) -> str:
    new = parts.to_json()
    closest = nearest(new, [entry.parts for entry in earlier])
    return "; ".join(explain(new, closest)) if closest is not None else "first run of this stage"


def _entry(step: Step, row: StageRun, parts: Parts) -> StepEntry:
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
    )

"""What a run leaves in the registry: its tracking run, and its version unless nothing changed."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.package import files_in, manifest_of
from loopwright_trainer.git.tree import Tree
from loopwright_trainer.pipelines.pipeline import Pipeline, Registration
from loopwright_trainer.pipelines.stage_order import inside
from loopwright_trainer.runs.domain import Output, PipelineRun, RunStatus, StageRun
from loopwright_trainer.runs.repository import PipelineRuns
from loopwright_trainer.runs.run_lease import RunLease
from loopwright_trainer.runs.service import RunOutcome
from loopwright_trainer.steps import outputs as kept
from loopwright_trainer.tracking import mlflow_registration
from loopwright_trainer.tracking.client import TrackingClient, TrackingRun

log = structlog.get_logger()


class TrackingSession:
    """The tracking run of a pipeline run, opened when first needed.

    Once it is opened here, `tracking` proves this attempt and earlier attempts are refused.
    """

    def __init__(self, tenure: RunLease, tracking: TrackingClient, run: PipelineRun) -> None:
        self.run = run
        self.tracking = tracking
        self._tenure = tenure
        self._opened: TrackingRun | None = None

    async def opened(self) -> TrackingRun:
        if self._opened is None:
            opened = await self._open()
            self.tracking = await self.tracking.fenced(opened.id, self.run.attempts)
            self._opened = opened
        return self._opened

    async def note(self, **changes: object) -> None:
        """Keep what is known about the run by now."""
        async with self._tenure.writing() as uow:
            await PipelineRuns(uow.connection).change(self.run.id, **changes)
        self.run = replace(self.run, **changes)  # type: ignore[arg-type]

    async def close(self, status: str, metrics: Mapping[str, float]) -> None:
        """End the tracking run, if there is one; a registry that is away does not matter here."""
        if self._opened is None:
            return
        tracking = self.tracking.impatient()
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
            self.tracking, pipeline, self.run.id, commit, look=self.run.attempts > 1
        )
        await self.note(tracking_run_id=opened.id)
        return opened


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run's stages made; `scratch` is a directory for passing files."""

    pipeline: Pipeline
    tree: Tree
    done: Sequence[StageRun]
    metrics: Mapping[str, float]
    store: ArtifactStore
    scratch: Path

    async def artifact(self, path: str) -> Output:
        """An output of a stage or a part of one, or files of the commit, brought to the store."""
        for output in (output for row in self.done for output in row.outputs):
            if output.path == path:
                return output
            if output.kind == "directory" and inside(path, output.path):
                return await self._part(output, path)
        entries = self.tree.under(path)
        if not entries:
            raise InvalidError(
                f"register: {path} is neither an out of a stage nor in the commit", field="register"
            )
        await asyncio.to_thread(self.tree.write, entries, self.scratch)
        return await kept.store_output(self.store, self.scratch, path)

    def key(self, package: Output) -> str:
        """What the package follows from: the key of the step that wrote it.

        A step that is not reusable may give another package for the same key, so its bytes count.
        """
        writers = [r for r in self.done if any(inside(package.path, o.path) for o in r.outputs)]
        origins = [row.key if row.reusable else package.digest for row in writers]
        named = json.dumps([self.pipeline.model, package.path, origins or [package.digest]])
        return "sha256:" + hashlib.sha256(named.encode()).hexdigest()

    async def _part(self, whole: Output, path: str) -> Output:
        name = path.removeprefix(f"{whole.path}/")
        files = files_in(await self.store.get(whole.digest))
        for file in files:
            if file.path == name:
                return Output(path=path, kind="file", digest=file.digest)
        below = [f._replace(path=f.path[len(name) + 1 :]) for f in files if inside(f.path, name)]
        if not below:
            raise InvalidError(f"register: out {whole.path} holds no {name}", field="register")
        manifest = await self.store.put(manifest_of(below))
        return Output(path=path, kind="directory", digest=manifest.digest)


async def register(harvest: RunResult, diary: TrackingSession, database: Database) -> RunOutcome:
    """Register what the run made, unless it follows from the same steps as the newest version."""
    register = harvest.pipeline.register
    if register is None:
        return RunOutcome(RunStatus.SUCCEEDED, "done; without `register:` nothing is registered")
    package = await harvest.artifact(register.package)
    if package.kind != "directory":
        raise InvalidError(
            f"register.package: {package.path} is a file; give the package's directory",
            field="register.package",
        )
    key = harvest.key(package)
    async with database.read() as connection:
        newest = await PipelineRuns(connection).newest_registered(diary.run.repository)
    if newest and newest.register_key == key:
        same = f"version {newest.version} of run {newest.id}"
        return RunOutcome(RunStatus.UNCHANGED, f"the package follows from the same steps as {same}")
    version = await _new_version(harvest, register, package, diary)
    await diary.note(register_key=key, model=harvest.pipeline.model, version=version)
    return RunOutcome(RunStatus.SUCCEEDED, f"registered {harvest.pipeline.model} version {version}")


async def _new_version(
    harvest: RunResult, register: Registration, package: Output, diary: TrackingSession
) -> int:
    named = {"training": register.training, "holdout": register.holdout}
    datasets = {role: await harvest.artifact(path) for role, path in named.items() if path}
    look, opened = diary.run.registering, await diary.opened()
    await diary.note(registering=True)
    run = diary.run
    candidate = mlflow_registration.VersionCandidate(
        run_id=run.id,
        commit=run.commit or "",
        pipeline=harvest.pipeline,
        package=package,
        datasets=datasets,
        metrics=harvest.metrics,
        started_at=run.started_at or clock.now(),
        cause=json.dumps(dict(run.cause)),
    )
    return await mlflow_registration.register_version(
        candidate, diary.tracking, opened, harvest.store, harvest.scratch, look=look
    )

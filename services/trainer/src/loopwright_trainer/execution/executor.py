"""A run from its commit to its version; done anew after a crash, it goes on where it stopped."""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_trainer.execution import registration
from loopwright_trainer.execution.registration import RunResult, TrackingSession
from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import Mirrors
from loopwright_trainer.git.tree import Tree
from loopwright_trainer.metrics import TrainerMetrics
from loopwright_trainer.pipelines import notebooks
from loopwright_trainer.pipelines.globs import any_matches
from loopwright_trainer.pipelines.pipeline import Pipeline, read_pipeline
from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import (
    DONE,
    Output,
    PipelineRun,
    RunStatus,
    StageRun,
    StageState,
)
from loopwright_trainer.runs.repository import Repositories, StageRuns
from loopwright_trainer.runs.run_lease import RunLease
from loopwright_trainer.runs.service import RunOutcome
from loopwright_trainer.steps import logs
from loopwright_trainer.steps.environment import PythonEnvironment, environment_of
from loopwright_trainer.steps.runner import StepFailedError, StepRunner
from loopwright_trainer.steps.step import PipelineStep, RunDirectory
from loopwright_trainer.steps.workspace import StageInputs
from loopwright_trainer.tracking.client import TrackingClient


@dataclass(frozen=True, slots=True)
class RunContext:
    """What runs are done with."""

    database: Database
    store: ArtifactStore
    mirrors: Mirrors
    tracking: TrackingClient
    steps: StepRunner
    directory: Path
    metrics: TrainerMetrics

    def place(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.directory / "runs" / run_id)


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run's commit, read."""

    pipeline: Pipeline
    inputs: StageInputs
    environment: PythonEnvironment
    rows: Mapping[str, StageRun]


class RunExecutor:
    """One run on its way."""

    def __init__(self, workshop: RunContext, run: PipelineRun, tenure: RunLease) -> None:
        self._shop = workshop
        self._tenure = tenure
        self._place = workshop.place(run.id)
        self._diary = TrackingSession(tenure, workshop.tracking, run)
        self._metrics: dict[str, float] = {}

    @property
    def run(self) -> PipelineRun:
        return self._diary.run

    async def travel(self) -> RunOutcome:
        """How the run ends; LoopwrightError or OSError say why it failed."""
        if self.run.tracking_run_id:
            await self._diary.opened()  # before anything else: an earlier attempt may still write
        tree = await self._tree()
        pipeline = await asyncio.to_thread(read_pipeline, tree.read, self.run.repository)
        if reason := _not_asked_for(pipeline, self.run):
            return RunOutcome(RunStatus.SKIPPED, reason)
        environment = await asyncio.to_thread(environment_of, tree)
        inputs = StageInputs(
            tree, self._shop.store, pipeline.captured, self.run.captured, pipeline.whole_tree
        )
        scene = PreparedRun(pipeline, inputs, environment, await self._begin(pipeline))
        await self._checks(scene)
        harvest = RunResult(
            pipeline=pipeline,
            tree=tree,
            done=await self._stages(scene),
            metrics=self._metrics,
            store=self._shop.store,
            scratch=self._place.work / "register",
        )
        return await registration.register(harvest, self._diary, self._shop.database)

    async def close(self, status: str) -> None:
        """Clear the workspace and end the tracking run as FINISHED, FAILED or KILLED."""
        with suppress(UnavailableError):
            await self._keep_logs()
        await asyncio.to_thread(shutil.rmtree, self._place.work, True)
        unlogged = self._metrics if self.run.version is None else {}
        await self._diary.close(status, unlogged)

    async def _keep_logs(self) -> None:
        """Of a stage that was stopped: all others have theirs kept."""
        async with self._shop.database.read() as connection:
            rows = await StageRuns(connection).of_run(self.run.id)
        for row in rows:
            if row.state is StageState.RUNNING:
                kept = await logs.store_logs(self._shop.store, self._place, row)
                async with self._tenure.writing() as uow:
                    await StageRuns(uow.connection).save(replace(row, logs=kept))

    async def _tree(self) -> Tree:
        """The commit's files; where no commit was ever announced, those of the branch's head."""
        async with self._shop.database.read() as connection:
            repository = await Repositories(connection).get(self.run.repository)
        if repository is None:
            raise GitError(f"repository {self.run.repository} was removed")
        mirrors, commit = self._shop.mirrors, self.run.commit
        if commit is None:
            commit = await mirrors.head(repository.url, repository.branch)
            if commit is None:
                raise GitError(f"{repository.url} has no branch {repository.branch}")
            await self._diary.note(commit=commit)
        return await mirrors.tree(repository.name, repository.url, commit, self.run.ref)

    async def _begin(self, pipeline: Pipeline) -> dict[str, StageRun]:
        """Rows of checks and stages by name; those of before a crash keep what they have."""
        names = [rule.name for rule in pipeline.checks] + [s.name for s in pipeline.stages]
        fresh = [StageRun(run_id=self.run.id, ordinal=n, name=name) for n, name in enumerate(names)]
        async with self._tenure.writing() as uow:
            await service.record_pipeline(uow, self.run, pipeline)
            stages = StageRuns(uow.connection)
            await stages.add_missing(fresh)
            rows = await stages.of_run(self.run.id)
        self._diary.run = replace(self.run, pipeline=pipeline.name)
        failpoint("trainer.begun")
        return {row.name: row for row in rows}

    async def _checks(self, scene: PreparedRun) -> None:
        """Every check, before any stage; each sees the commit and nothing else."""
        inputs = replace(scene.inputs, captured_path=None, whole_tree=True)
        for rule in scene.pipeline.checks:
            row = scene.rows[rule.name]
            if row.state in DONE:
                continue
            if rule.command is None:
                await self._notebooks(inputs.tree, row)
                continue
            stage = Stage(name=rule.name, commands=(rule.command,))
            await self._shop.steps.do(self._step(stage, row, inputs, scene, ()), _nothing)

    async def _notebooks(self, tree: Tree, row: StageRun) -> None:
        dirty = await asyncio.to_thread(notebooks.with_outputs, tree)
        state = StageState.FAILED if dirty else StageState.RAN
        why = f"committed with outputs: {', '.join(dirty)}" if dirty else "no notebook has outputs"
        async with self._tenure.writing() as uow:
            await StageRuns(uow.connection).save(replace(row, state=state, why=why))
        if dirty:
            raise StepFailedError(f"{row.name}: {why}; strip them, for example with nb-clean")

    async def _stages(self, scene: PreparedRun) -> list[StageRun]:
        done: list[StageRun] = []
        for stage in scene.pipeline.stages:
            row = scene.rows[stage.name]
            if row.state not in DONE:
                earlier = [output for other in done for output in other.outputs]
                step = self._step(stage, row, scene.inputs, scene, earlier)
                row = await self._shop.steps.do(step, self._stage_environment)
            done.append(row)
            self._metrics |= row.metrics
        return done

    def _step(
        self,
        stage: Stage,
        row: StageRun,
        inputs: StageInputs,
        scene: PreparedRun,
        earlier: Sequence[Output],
    ) -> PipelineStep:
        return PipelineStep(
            run=self.run,
            tenure=self._tenure,
            stage=stage,
            row=row,
            inputs=inputs,
            earlier=earlier,
            environment=scene.environment,
            place=self._place,
            started=time.monotonic(),
        )

    async def _stage_environment(self) -> dict[str, str]:
        """So that `mlflow.log_metric` in user code just works."""
        opened = await self._diary.opened()
        return {
            "MLFLOW_TRACKING_TOKEN": self._diary.tracking.token or "",
            "MLFLOW_TRACKING_URI": self._shop.tracking.url,
            "MLFLOW_RUN_ID": opened.id,
            "MLFLOW_EXPERIMENT_ID": opened.experiment_id,
        }


async def _nothing() -> dict[str, str]:
    return {}


def _not_asked_for(pipeline: Pipeline, run: PipelineRun) -> str | None:
    """Why a change does not run, or None; whatever was asked for by name always runs."""
    patterns = pipeline.code.paths
    if run.reason != "code" or patterns is None or run.paths is None:
        return None
    if any_matches(run.paths, patterns):
        return None
    return f"none of the {len(run.paths)} changed paths is in triggers.code.paths"

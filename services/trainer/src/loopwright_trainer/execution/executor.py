"""A run from its commit to its version; done anew after a crash, it goes on where it stopped."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from loopwright_common.errors import UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_common.files.removal import remove_tree
from loopwright_trainer.execution import registration
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.execution.run_result import RunResult
from loopwright_trainer.execution.tracking_session import TrackingSession
from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.tree import Tree
from loopwright_trainer.pipelines import notebooks
from loopwright_trainer.pipelines.globs import any_matches
from loopwright_trainer.pipelines.pipeline import Pipeline
from loopwright_trainer.pipelines.pipeline_file import read_pipeline
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
from loopwright_trainer.steps.gateway import StageAccess
from loopwright_trainer.steps.runner import StepFailedError
from loopwright_trainer.steps.step import PipelineStep
from loopwright_trainer.steps.workspace import StageInputs

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run whose commit is read: its pipeline, what stages may use, and their rows by name."""

    pipeline: Pipeline
    inputs: StageInputs
    environment: PythonEnvironment
    rows: Mapping[str, StageRun]


class RunExecutor:
    """Executes one run; what an earlier attempt has done is not done again."""

    def __init__(self, context: RunContext, run: PipelineRun, lease: RunLease) -> None:
        self._context = context
        self._lease = lease
        self._directory = context.run_directory(run.id)
        self._session = TrackingSession(lease, context.tracking, run)
        self._metrics: dict[str, float] = {}

    @property
    def run(self) -> PipelineRun:
        return self._session.run

    async def execute(self) -> RunOutcome:
        """How the run ends; LoopwrightError or OSError say why it failed.

        LeaseLostError once another trainer has the run.
        """
        if self.run.tracking_run_id:
            await self._session.open()  # before anything else: an earlier attempt may still write
        tree = await self._tree()
        pipeline = await asyncio.to_thread(read_pipeline, tree.read, self.run.repository)
        if reason := await asyncio.to_thread(_not_asked_for, pipeline, self.run):
            return RunOutcome(RunStatus.SKIPPED, reason)
        environment = await asyncio.to_thread(environment_of, tree)
        inputs = StageInputs(
            tree, self._context.store, pipeline.captured, self.run.captured, pipeline.whole_tree
        )
        prepared = PreparedRun(pipeline, inputs, environment, await self._begin(pipeline))
        await self._checks(prepared)
        result = RunResult(
            pipeline=pipeline,
            tree=tree,
            done=await self._stages(prepared),
            metrics=self._metrics,
            store=self._context.store,
            scratch=self._directory.work / "register",
            disk_limit=self._context.steps.confinement.disk,
        )
        return await registration.register(result, self._session, self._context.database)

    async def close(self, status: str) -> None:
        """Clear the workspace and end the tracking run as FINISHED, FAILED or KILLED.

        UnavailableError while the registry or the database is away, LeaseLostError once another
        trainer has the run.
        """
        with suppress(UnavailableError):
            await self._keep_logs()
        await asyncio.to_thread(remove_tree, self._directory.work)
        unlogged = self._metrics if self.run.version is None else {}
        await self._session.close(status, unlogged)

    async def _keep_logs(self) -> None:
        """Keep the log of a stage that was stopped: all others have theirs kept."""
        async with self._context.database.read() as connection:
            rows = await StageRuns(connection).of_run(self.run.id)
        for row in rows:
            if row.state is StageState.RUNNING:
                kept = await logs.store_logs(self._context.store, self._directory, row)
                async with self._lease.transaction() as uow:
                    await StageRuns(uow.connection).save(replace(row, logs=kept))

    async def _tree(self) -> Tree:
        """The commit's files; where no commit was ever announced, those of the branch's head."""
        async with self._context.database.read() as connection:
            repository = await Repositories(connection).get(self.run.repository)
        if repository is None:
            raise GitError(f"repository {self.run.repository} was removed")
        mirrors, commit = self._context.mirrors, self.run.commit
        if commit is None:
            commit = await mirrors.head(repository.url, repository.branch)
            if commit is None:
                raise GitError(f"{repository.url} has no branch {repository.branch}")
            await self._session.update_run(commit=commit)
        return await mirrors.tree(repository.name, repository.url, commit, self.run.ref)

    async def _begin(self, pipeline: Pipeline) -> dict[str, StageRun]:
        """Rows of checks and stages by name; those of before a crash keep what they have."""
        names = [rule.name for rule in pipeline.checks] + [s.name for s in pipeline.stages]
        fresh = [StageRun(run_id=self.run.id, ordinal=n, name=name) for n, name in enumerate(names)]
        async with self._lease.transaction() as uow:
            await service.record_pipeline(uow, self.run, pipeline)
            stages = StageRuns(uow.connection)
            await stages.add_missing(fresh)
            rows = await stages.of_run(self.run.id)
        self._session.run = replace(self.run, pipeline=pipeline.name)
        failpoint("trainer.begun")
        return {row.name: row for row in rows}

    async def _checks(self, prepared: PreparedRun) -> None:
        """Every check, before any stage; each sees the commit and nothing else."""
        inputs = replace(prepared.inputs, captured_path=None, whole_tree=True)
        for rule in prepared.pipeline.checks:
            row = prepared.rows[rule.name]
            if row.state in DONE:
                continue
            if rule.command is None:
                await self._notebooks(inputs.tree, row)
                continue
            stage = Stage(name=rule.name, commands=(rule.command,))
            await self._context.steps.run(self._step(stage, row, inputs, prepared, ()), _no_access)

    async def _notebooks(self, tree: Tree, row: StageRun) -> None:
        dirty = await asyncio.to_thread(notebooks.with_outputs, tree)
        state = StageState.FAILED if dirty else StageState.RAN
        why = f"committed with outputs: {_listed(dirty)}" if dirty else "no notebook has outputs"
        async with self._lease.transaction() as uow:
            await StageRuns(uow.connection).save(replace(row, state=state, why=why))
        if dirty:
            raise StepFailedError(f"{row.name}: {why}; strip them, for example with nb-clean")

    async def _stages(self, prepared: PreparedRun) -> list[StageRun]:
        done: list[StageRun] = []
        for stage in prepared.pipeline.stages:
            row = prepared.rows[stage.name]
            if row.state not in DONE:
                earlier = [output for other in done for output in other.outputs]
                step = self._step(stage, row, prepared.inputs, prepared, earlier)
                row = await self._context.steps.run(step, self._stage_access)
            done.append(row)
            self._metrics |= row.metrics
        return done

    def _step(
        self,
        stage: Stage,
        row: StageRun,
        inputs: StageInputs,
        prepared: PreparedRun,
        earlier: Sequence[Output],
    ) -> PipelineStep:
        return PipelineStep(
            run=self.run,
            lease=self._lease,
            stage=stage,
            row=row,
            inputs=inputs,
            earlier=earlier,
            environment=prepared.environment,
            directory=self._directory,
            started=time.monotonic(),
        )

    async def _stage_access(self) -> StageAccess:
        """So that `mlflow.log_metric` in user code just works; the run's token stays here."""
        opened = await self._session.open()
        password = secrets.token_urlsafe(32)
        environment = {
            "MLFLOW_TRACKING_TOKEN": password,
            "MLFLOW_RUN_ID": opened.id,
            "MLFLOW_EXPERIMENT_ID": opened.experiment_id,
        }
        return StageAccess(environment, self._session.tracking.proxy(opened.id, password))


async def _no_access() -> StageAccess:
    return StageAccess()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _not_asked_for(pipeline: Pipeline, run: PipelineRun) -> str | None:
    """Why a change does not run, or None; whatever was asked for by name always runs."""
    patterns = pipeline.code.paths
    if run.reason != "code" or patterns is None or run.paths is None:
        return None
    if any_matches(run.paths, patterns):
        return None
    return f"none of the {len(run.paths)} changed paths is in triggers.code.paths"

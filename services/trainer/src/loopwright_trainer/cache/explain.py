"""What each stage of a pipeline would do now, and why: reused or run, and what differs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loopwright_common.database import Database
from loopwright_common.errors import NotFoundError
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.pipelines.pipeline import Pipeline
from loopwright_trainer.pipelines.pipeline_file import read_pipeline
from loopwright_trainer.pipelines.stage_order import overlap
from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.runs.domain import Output, Repository, StepEntry
from loopwright_trainer.runs.repository import PipelineRuns, Repositories, StageRuns
from loopwright_trainer.steps.environment import environment_of
from loopwright_trainer.steps.key import KeyParts, explain, step_key
from loopwright_trainer.steps.reuse import look_up
from loopwright_trainer.steps.step import key_parts
from loopwright_trainer.steps.workspace import StageInputs


@dataclass(frozen=True, slots=True)
class ExplainTarget:
    """What the stages are looked at with; `made` are outputs that a run has of its own."""

    repository: Repository
    commit: str
    ref: str
    captured: str | None
    made: Sequence[Output] = ()


@dataclass(frozen=True, slots=True)
class StageExplanation:
    """A stage as it would go now; unknown, without `parts`, as long as one before it must run."""

    stage: str
    verdict: Literal["reused", "would run", "unknown"]
    why: str
    parts: KeyParts | None = None
    nearest: StepEntry | None = None

    @property
    def key(self) -> str | None:
        return step_key(self.parts) if self.parts else None

    @property
    def differences(self) -> list[str]:
        """From the nearest kept result, down to the param."""
        if self.parts is None or self.nearest is None:
            return []
        return explain(self.parts.to_json(), self.nearest.parts)


async def target_of_pipeline(database: Database, name: str) -> ExplainTarget:
    """The newest known commit of a pipeline, or of a repository, with the rows it would learn.

    NotFoundError where neither has that name.
    """
    async with database.read() as connection:
        repositories = Repositories(connection)
        repository = await repositories.of_pipeline(name) or await repositories.get(name)
    if repository is None:
        raise NotFoundError(f"no repository has the pipeline {name}")
    if repository.head is None:
        raise NotFoundError(f"no commit of repository {repository.name} is known yet")
    return ExplainTarget(
        repository, repository.head, f"refs/heads/{repository.branch}", repository.captured
    )


async def target_of_run(database: Database, run_id: str) -> ExplainTarget:
    """A run's own commit, captured rows and outputs; NotFoundError when there is none."""
    async with database.read() as connection:
        run = await PipelineRuns(connection).get(run_id)
        repository = await Repositories(connection).get(run.repository) if run else None
        rows = await StageRuns(connection).of_run(run_id)
    if run is None or run.commit is None:
        raise NotFoundError(f"no run {run_id}" if run is None else f"run {run_id} has no commit")
    if repository is None:
        raise NotFoundError(f"repository {run.repository} was removed")
    made = [output for row in rows for output in row.outputs]
    return ExplainTarget(repository, run.commit, run.ref, run.captured, made)


async def explain_stages(
    context: RunContext, target: ExplainTarget
) -> tuple[Pipeline, list[StageExplanation]]:
    """The pipeline at the commit, and its stages in the order in which they would go.

    InvalidError names what of the pipeline's files is wrong.
    """
    repository = target.repository
    tree = await context.mirrors.tree(repository.name, repository.url, target.commit, target.ref)
    pipeline = await asyncio.to_thread(read_pipeline, tree.read, repository.name)
    inputs = StageInputs(
        tree, context.store, pipeline.captured, target.captured, pipeline.whole_tree
    )
    return pipeline, await _Walk(context, target, inputs).through(pipeline.stages)


class _Walk:
    """From stage to stage, each with the outputs of those before it."""

    def __init__(self, context: RunContext, target: ExplainTarget, inputs: StageInputs) -> None:
        self._context, self._target, self._inputs = context, target, inputs
        self._known: list[Output] = []
        self._open: dict[str, str] = {}
        """Outputs that nobody knows yet: their paths, and the stages that write them."""

    async def through(self, stages: Sequence[Stage]) -> list[StageExplanation]:
        environment = await asyncio.to_thread(environment_of, self._inputs.tree)
        explanations = []
        for stage in stages:
            if missing := self._missing(stage):
                explanations.append(StageExplanation(stage.name, "unknown", missing))
                self._leave_open(stage)
            else:
                known = list(self._known)
                parts = await asyncio.to_thread(key_parts, stage, self._inputs, known, environment)
                explanations.append(await self._looked_up(stage, parts))
        return explanations

    async def _looked_up(self, stage: Stage, parts: KeyParts) -> StageExplanation:
        repository = self._target.repository.name
        verdict = await look_up(
            self._context.database, self._context.store, repository, stage, parts
        )
        if verdict.entry:
            self._known += verdict.entry.outputs
            return StageExplanation(stage.name, "reused", verdict.why, parts, verdict.nearest)
        self._leave_open(stage)
        return StageExplanation(stage.name, "would run", verdict.why, parts, verdict.nearest)

    def _leave_open(self, stage: Stage) -> None:
        """What the stage writes is known only where the run looked at has written it."""
        made = [output for output in self._target.made if output.path in stage.outs]
        self._known += made
        unknown = set(stage.outs) - {output.path for output in made}
        self._open |= dict.fromkeys(unknown, stage.name)

    def _missing(self, stage: Stage) -> str | None:
        for dep in stage.deps:
            for path, writer in self._open.items():
                if overlap(dep, path):
                    return f"dep {dep} is known once stage {writer} has run"
        return None

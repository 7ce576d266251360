"""Kept results over HTTP."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.web.app import PROBLEMS
from loopwright_trainer.cache import gc
from loopwright_trainer.cache.explain import (
    ExplainTarget,
    StageExplanation,
    explain_stages,
    target_of_pipeline,
    target_of_run,
)
from loopwright_trainer.cache.gc import Expired, RetentionRule
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.runs.domain import StepEntry

LEFT = "outputs stay in the store: packages and runs may refer to the same bytes"
Text = Annotated[str | None, Query(max_length=300)]


class Clearing(BaseModel):
    """What to forget beside entries whose outputs are gone; `keep` counts per stage."""

    model_config = ConfigDict(extra="forbid")
    older_than_seconds: float | None = Field(default=None, ge=0, le=3e9)
    keep: int | None = Field(default=None, ge=0, le=1_000_000)
    dry_run: bool = False


def cache_router(context: RunContext) -> APIRouter:
    router = APIRouter(prefix="/v1/cache", responses=PROBLEMS, tags=["cache"])

    @router.get("/explain")
    async def explain(
        pipeline: Text = None, run: Text = None, stage: Text = None
    ) -> dict[str, Any]:
        """What each stage would do now and why, for a pipeline's head or a run's commit."""
        source = await _source(context, pipeline, run)
        read, stages = await explain_stages(context, source)
        chosen = [each for each in stages if stage in (None, each.stage)]
        if not chosen:
            names = ", ".join(each.stage for each in stages)
            raise NotFoundError(f"pipeline {read.name} has no stage {stage}; its stages: {names}")
        return {
            "pipeline": read.name,
            "repository": source.repository.name,
            "commit": source.commit,
            "captured": source.captured,
            "stages": [_explained_out(each) for each in chosen],
        }

    @router.post("/gc")
    async def clear(asked: Clearing) -> dict[str, Any]:
        """Forget kept results that cannot be used, or that the request names; files stay."""
        age = asked.older_than_seconds
        rule = RetentionRule(timedelta(seconds=age) if age is not None else None, asked.keep)
        found = await gc.find_expired(context.database, context.store, rule)
        if not asked.dry_run:
            found = await gc.delete_expired(context.database, found)
        return {
            "items": [_doomed_out(each) for each in found],
            "dry_run": asked.dry_run,
            "bytes_freed": 0,
            "bytes_left": sum(each.size for each in found),
            "left": LEFT,
        }

    return router


async def _source(context: RunContext, pipeline: str | None, run: str | None) -> ExplainTarget:
    if run and not pipeline:
        return await target_of_run(context.database, run)
    if pipeline and not run:
        return await target_of_pipeline(context.database, pipeline)
    raise InvalidError("name either the pipeline or the run", field="pipeline")


def _explained_out(explained: StageExplanation) -> dict[str, Any]:
    return {
        "name": explained.stage,
        "verdict": explained.verdict,
        "why": explained.why,
        "key": explained.key,
        "parts": explained.parts.to_json() if explained.parts else None,
        "nearest": _entry_out(explained.nearest) if explained.nearest else None,
        "differences": explained.differences,
    }


def _entry_out(entry: StepEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "stage": entry.stage,
        "repository": entry.repository,
        "run_id": entry.run_id,
        "commit": entry.commit,
        "kept_at": entry.kept_at,
    }


def _doomed_out(each: Expired) -> dict[str, Any]:
    return _entry_out(each.entry) | {"why": each.why, "bytes": each.size}

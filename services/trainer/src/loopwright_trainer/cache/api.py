"""Kept results over HTTP."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.web.problems import PROBLEMS
from loopwright_trainer.cache import gc
from loopwright_trainer.cache.explain import (
    ExplainTarget,
    explain_stages,
    target_of_pipeline,
    target_of_run,
)
from loopwright_trainer.cache.gc import RetentionRule
from loopwright_trainer.cache.schemas import (
    ExpiredOut,
    ExplainOut,
    GarbageCollectionIn,
    GarbageCollectionOut,
    StageExplanationOut,
)
from loopwright_trainer.execution.run_context import RunContext

LEFT = "outputs stay in the store: packages and runs may refer to the same bytes"
Text = Annotated[str | None, Query(max_length=300)]


def create_router(context: RunContext) -> APIRouter:
    router = APIRouter(prefix="/v1/cache", responses=PROBLEMS, tags=["cache"])
    _add_explain(router, context)
    _add_gc(router, context)
    return router


def _add_explain(router: APIRouter, context: RunContext) -> None:
    @router.get("/explain")
    async def explain(pipeline: Text = None, run: Text = None, stage: Text = None) -> ExplainOut:
        """What each stage would do now and why, for a pipeline's head or a run's commit."""
        target = await _target(context, pipeline, run)
        read, stages = await explain_stages(context, target)
        chosen = [each for each in stages if stage in (None, each.stage)]
        if not chosen:
            names = ", ".join(each.stage for each in stages)
            raise NotFoundError(f"pipeline {read.name} has no stage {stage}; its stages: {names}")
        return ExplainOut(
            pipeline=read.name,
            repository=target.repository.name,
            commit=target.commit,
            captured=target.captured,
            stages=[StageExplanationOut.of(each) for each in chosen],
        )


def _add_gc(router: APIRouter, context: RunContext) -> None:
    @router.post("/gc")
    async def clear(body: GarbageCollectionIn) -> GarbageCollectionOut:
        """Forget kept results that cannot be used, or that the request names; files stay."""
        age = body.older_than_seconds
        rule = RetentionRule(timedelta(seconds=age) if age is not None else None, body.keep)
        expired = await gc.find_expired(context.database, context.store, rule)
        if not body.dry_run:
            expired = await gc.delete_expired(context.database, expired)
        return GarbageCollectionOut(
            items=[ExpiredOut.of(each) for each in expired],
            dry_run=body.dry_run,
            bytes_freed=0,
            bytes_left=sum(each.size for each in expired),
            left=LEFT,
        )


async def _target(context: RunContext, pipeline: str | None, run: str | None) -> ExplainTarget:
    if run and not pipeline:
        return await target_of_run(context.database, run)
    if pipeline and not run:
        return await target_of_pipeline(context.database, pipeline)
    raise InvalidError("name either the pipeline or the run", field="pipeline")

"""The trainer over HTTP: repositories and runs."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.web.app import PROBLEMS
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.git.mirror import check_url
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, Repository, StageRun, StageState
from loopwright_trainer.runs.repository import PipelineRuns, Repositories, StageRuns
from loopwright_trainer.steps import logs
from loopwright_trainer.triggers import run_queue
from loopwright_trainer.triggers.repository_poller import RepositoryPoller

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
RunId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=100)]


class NewRepository(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    url: str = Field(min_length=1, max_length=2000)
    branch: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,199}$")


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")


class NewRun(BaseModel):
    """Name the pipeline or the repository."""

    model_config = ConfigDict(extra="forbid")
    pipeline: str | None = Field(default=None, max_length=100)
    repository: str | None = Field(default=None, max_length=100)
    by: str = Field(default="a person", max_length=200)
    why: str | None = Field(default=None, max_length=1000)
    captured: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")


class Retry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    by: str = Field(default="a person", min_length=1, max_length=200)


def create_router(
    context: RunContext,
    poller: RepositoryPoller,
    *,
    wake: Callable[[], None],
    cancel: Callable[[str], None],
) -> APIRouter:
    """`wake` tells the worker that a run may wait, `cancel` that one going on has to stop."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_repositories(router, context, poller)
    _add_runs(router, context, wake, cancel)
    _add_log(router, context)
    return router


def _add_repositories(router: APIRouter, context: RunContext, poller: RepositoryPoller) -> None:
    database = context.database

    @router.post("/repositories", status_code=201, tags=["repositories"])
    async def add_repository(new: NewRepository) -> dict[str, Any]:
        """Register a repository; its branch is watched from now on, and its head runs at once."""
        if await context.mirrors.head(check_url(new.url), new.branch) is None:
            raise InvalidError(f"{new.url} has no branch {new.branch}", field="branch")
        async with database.unit_of_work() as uow:
            added = await service.add_repository(uow, new.name, new.url, new.branch)
        poller.poll_now()
        return _repository_out(added)

    @router.get("/repositories", tags=["repositories"])
    async def list_repositories(after: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        async with database.read() as connection:
            found = await Repositories(connection).all(after or "", limit)
        following = found[-1].name if len(found) == limit else None
        return {"items": [_repository_out(each) for each in found], "next": following}

    @router.delete("/repositories/{name}", status_code=204, tags=["repositories"])
    async def remove_repository(name: Name) -> None:
        """Forget a repository; its runs stay listed."""
        async with database.unit_of_work() as uow:
            await service.remove_repository(uow, name)
        await context.mirrors.remove(name)

    @router.post("/repositories/{name}/changed", tags=["repositories"])
    async def announce_change(name: Name, change: Change | None = None) -> dict[str, Any]:
        """Say that the watched branch has a new commit; a known head is announced only once."""
        async with database.unit_of_work() as uow:
            repository = await service.get_repository(uow, name)
        commit, news = await poller.announce_head(repository, change.commit if change else None)
        return {"repository": name, "commit": commit, "announced": news}


def _add_runs(
    router: APIRouter,
    context: RunContext,
    wake: Callable[[], None],
    cancel: Callable[[str], None],
) -> None:
    database = context.database

    @router.get("/runs", tags=["runs"])
    async def list_runs(
        after: Cursor = None,
        limit: Limit = 50,
        repository: Annotated[str | None, Query(max_length=100)] = None,
        pipeline: Annotated[str | None, Query(max_length=100)] = None,
    ) -> dict[str, Any]:
        """Newest first."""
        async with database.read() as connection:
            found = await PipelineRuns(connection).page(after, limit, repository, pipeline)
        following = found[-1].id if len(found) == limit else None
        return {"items": [_run_out(each) for each in found], "next": following}

    @router.post("/runs", status_code=202, tags=["runs"])
    async def start_run(new: NewRun) -> dict[str, Any]:
        """Run a pipeline on the newest known commit, whatever changed."""
        async with database.unit_of_work() as uow:
            asked = run_queue.RunRequest(**new.model_dump())
            run = await run_queue.request_run(uow, asked)
        wake()
        return _run_out(run)

    @router.get("/runs/{run_id}", tags=["runs"])
    async def show_run(run_id: RunId) -> dict[str, Any]:
        run, stages = await _found(context, run_id)
        return _run_out(run) | {"stages": [await _stage_out(row, context) for row in stages]}

    @router.post("/runs/{run_id}/cancel", status_code=202, tags=["runs"])
    async def cancel_run(run_id: RunId) -> dict[str, Any]:
        async with database.unit_of_work() as uow:
            run = await service.request_cancellation(uow, run_id)
        cancel(run_id)
        return _run_out(run)

    @router.post("/runs/{run_id}/retry", status_code=202, tags=["runs"])
    async def retry_run(run_id: RunId, asked: Retry | None = None) -> dict[str, Any]:
        """Run the same commit with the same captured rows again, once the run has ended."""
        async with database.unit_of_work() as uow:
            run = await run_queue.retry_run(uow, run_id, (asked or Retry()).by)
        wake()
        return _run_out(run)


def _add_log(router: APIRouter, context: RunContext) -> None:
    @router.get("/runs/{run_id}/log", response_class=PlainTextResponse, tags=["runs"])
    async def show_log(
        run_id: RunId,
        stage: Annotated[str | None, Query(max_length=300)] = None,
        attempt: Annotated[int | None, Query(ge=1, le=1000)] = None,
    ) -> str:
        """What the stage's commands printed, so far; without `stage`, all of the run's."""
        _, rows = await _found(context, run_id)
        chosen = [row for row in rows if stage is None or row.name == stage]
        if stage is not None and not chosen:
            names = ", ".join(row.name for row in rows) or "none yet"
            raise NotFoundError(f"run {run_id} has no stage {stage}; its stages: {names}")
        if stage is not None:
            return await _log_text(context, chosen[0], attempt)
        texts = [f"==> {row.name}\n{await _log_text(context, row, None)}" for row in chosen]
        return "\n".join(texts)


async def _found(context: RunContext, run_id: str) -> tuple[PipelineRun, list[StageRun]]:
    async with context.database.read() as connection:
        run = await PipelineRuns(connection).get(run_id)
        rows = await StageRuns(connection).of_run(run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id}")
    return run, rows


async def _log_text(context: RunContext, row: StageRun, attempt: int | None) -> str:
    return await logs.read(context.store, context.run_directory(row.run_id), row, attempt)


def _repository_out(repository: Repository) -> dict[str, Any]:
    return {
        "name": repository.name,
        "url": repository.url,
        "branch": repository.branch,
        "head": repository.head,
        "pipeline": repository.pipeline,
        "problem": repository.problem,
        "added_at": repository.added_at,
    }


def _run_out(run: PipelineRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "repository": run.repository,
        "pipeline": run.pipeline,
        "commit": run.commit,
        "ref": run.ref,
        "reason": run.reason,
        "status": run.status.value,
        "why": run.why,
        "chain_id": run.cause.get("chain_id"),
        "causes": run.cause.get("event_ids", []),
        "captured": run.captured,
        "retry_of": run.retry_of,
        "tracking_run_id": run.tracking_run_id,
        "model": run.model,
        "version": run.version,
        "cancel_requested": run.cancel_requested,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


async def _stage_out(row: StageRun, context: RunContext) -> dict[str, Any]:
    told = {
        "name": row.name,
        "outcome": row.state.value,
        "why": row.why,
        "seconds": round(row.seconds, 3),
        "attempts": row.attempts,
        "key": row.key,
        "metrics": dict(row.metrics),
        "outputs": {output.path: output.digest for output in row.outputs},
    }
    if row.state is StageState.FAILED:
        told["log_tail"] = await logs.tail(context.store, context.run_directory(row.run_id), row)
    return told

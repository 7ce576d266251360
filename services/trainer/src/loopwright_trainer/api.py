"""The trainer over HTTP: repositories and runs."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.web.problems import PROBLEMS
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, StageRun, StageState
from loopwright_trainer.runs.repository import PipelineRuns, Repositories, StageRuns
from loopwright_trainer.schemas import (
    AnnouncementOut,
    ChangeIn,
    PipelineRunDetailOut,
    PipelineRunIn,
    PipelineRunOut,
    PipelineRunsOut,
    RepositoriesOut,
    RepositoryIn,
    RepositoryOut,
    RetryIn,
    StageRunOut,
)
from loopwright_trainer.steps import logs
from loopwright_trainer.triggers import run_queue
from loopwright_trainer.triggers.repository_poller import RepositoryPoller

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
RunId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=100)]


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
    async def add_repository(new: RepositoryIn) -> RepositoryOut:
        """Register a repository; its branch is watched from now on, and its head runs at once."""
        if await context.mirrors.head(new.url, new.branch) is None:
            raise InvalidError(f"{new.url} has no branch {new.branch}", field="branch")
        async with database.unit_of_work() as uow:
            added = await service.add_repository(uow, new.name, new.url, new.branch)
        poller.poll_now()
        return RepositoryOut.of(added)

    @router.get("/repositories", tags=["repositories"])
    async def list_repositories(after: Cursor = None, limit: Limit = 100) -> RepositoriesOut:
        async with database.read() as connection:
            found = await Repositories(connection).all(after or "", limit)
        following = found[-1].name if len(found) == limit else None
        return RepositoriesOut(items=[RepositoryOut.of(each) for each in found], next=following)

    @router.delete("/repositories/{name}", status_code=204, tags=["repositories"])
    async def remove_repository(name: Name) -> None:
        """Forget a repository; its runs stay listed."""
        async with database.unit_of_work() as uow:
            await service.remove_repository(uow, name)
        await context.mirrors.remove(name)

    @router.post("/repositories/{name}/changed", tags=["repositories"])
    async def announce_change(name: Name, change: ChangeIn | None = None) -> AnnouncementOut:
        """Say that the watched branch has a new commit; a known head is announced only once."""
        async with database.unit_of_work() as uow:
            repository = await service.get_repository(uow, name)
        commit, news = await poller.announce_head(repository, change.commit if change else None)
        return AnnouncementOut(repository=name, commit=commit, announced=news)


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
    ) -> PipelineRunsOut:
        """Newest first."""
        async with database.read() as connection:
            found = await PipelineRuns(connection).page(after, limit, repository, pipeline)
        following = found[-1].id if len(found) == limit else None
        return PipelineRunsOut(items=[PipelineRunOut.of(each) for each in found], next=following)

    @router.post("/runs", status_code=202, tags=["runs"])
    async def start_run(new: PipelineRunIn) -> PipelineRunOut:
        """Run a pipeline on the newest known commit, whatever changed."""
        async with database.unit_of_work() as uow:
            request = run_queue.RunRequest(**new.model_dump())
            run = await run_queue.request_run(uow, request)
        wake()
        return PipelineRunOut.of(run)

    @router.get("/runs/{run_id}", tags=["runs"], response_model_exclude_unset=True)
    async def show_run(run_id: RunId) -> PipelineRunDetailOut:
        return await _run_detail(context, run_id)

    @router.post("/runs/{run_id}/cancel", status_code=202, tags=["runs"])
    async def cancel_run(run_id: RunId) -> PipelineRunOut:
        async with database.unit_of_work() as uow:
            run = await service.request_cancellation(uow, run_id)
        cancel(run_id)
        return PipelineRunOut.of(run)

    @router.post("/runs/{run_id}/retry", status_code=202, tags=["runs"])
    async def retry_run(run_id: RunId, body: RetryIn | None = None) -> PipelineRunOut:
        """Run the same commit with the same captured rows again, once the run has ended."""
        async with database.unit_of_work() as uow:
            run = await run_queue.retry_run(uow, run_id, (body or RetryIn()).by)
        wake()
        return PipelineRunOut.of(run)


def _add_log(router: APIRouter, context: RunContext) -> None:
    @router.get("/runs/{run_id}/log", response_class=PlainTextResponse, tags=["runs"])
    async def show_log(
        run_id: RunId,
        stage: Annotated[str | None, Query(max_length=300)] = None,
        attempt: Annotated[int | None, Query(ge=1, le=1000)] = None,
    ) -> str:
        """What the stage's commands printed, so far; without `stage`, all of the run's."""
        _, rows = await _run_with_stages(context, run_id)
        chosen = [row for row in rows if stage is None or row.name == stage]
        if stage is not None and not chosen:
            names = ", ".join(row.name for row in rows) or "none yet"
            raise NotFoundError(f"run {run_id} has no stage {stage}; its stages: {names}")
        if stage is not None:
            return await _log_text(context, chosen[0], attempt)
        texts = [f"==> {row.name}\n{await _log_text(context, row, None)}" for row in chosen]
        return "\n".join(texts)


async def _run_with_stages(context: RunContext, run_id: str) -> tuple[PipelineRun, list[StageRun]]:
    async with context.database.read() as connection:
        run = await PipelineRuns(connection).get(run_id)
        rows = await StageRuns(connection).of_run(run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id}")
    return run, rows


async def _log_text(context: RunContext, row: StageRun, attempt: int | None) -> str:
    return await logs.read(context.store, context.run_directory(row.run_id), row, attempt)


async def _run_detail(context: RunContext, run_id: str) -> PipelineRunDetailOut:
    run, rows = await _run_with_stages(context, run_id)
    stages = [await _stage_out(context, row) for row in rows]
    return PipelineRunDetailOut(**PipelineRunOut.of(run).model_dump(), stages=stages)


async def _stage_out(context: RunContext, row: StageRun) -> StageRunOut:
    stage = StageRunOut.of(row)
    if row.state is StageState.FAILED:
        stage.log_tail = await logs.tail(context.store, context.run_directory(row.run_id), row)
    return stage

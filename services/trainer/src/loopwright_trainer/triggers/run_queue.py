"""What starts runs: commits, requests of other services, persons; one run waits per branch.

Callers of `enqueue_...` hold the lock `QUEUE_LOCK` since before they read the repository.
"""

from dataclasses import dataclass, replace

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork, inbox, upsert
from loopwright_common.errors import ConflictError, InvalidError, NotFoundError
from loopwright_common.events import CodeChanged, Event, Payload, RetrainRequested
from loopwright_common.ids import new_id
from loopwright_trainer.runs.domain import PipelineRun, Repository, RunStatus, joined_causes
from loopwright_trainer.runs.repository import PipelineRuns, Repositories
from loopwright_trainer.runs.service import QUEUE_LOCK, RunOutcome, finish_run

CONSUMER = "trainer.intake"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A person's request for a run of a pipeline, or of a repository."""

    pipeline: str | None = None
    repository: str | None = None
    by: str
    why: str | None = None
    captured: str | None = None


async def enqueue_change(
    uow: UnitOfWork, event: Event[CodeChanged], repository: Repository
) -> None:
    """Queue a run for a commit; one that waits for an older commit gives way to it."""
    change = event.data
    runs = PipelineRuns(uow.connection)
    if change.source == "poll" and await runs.has_commit(repository.name, change.commit):
        return
    # What our own poller announced is the head since then, or another is by now.
    if change.ref == f"refs/heads/{repository.branch}" and event.source != uow.source:
        await Repositories(uow.connection).update(repository.name, head=change.commit)
    run = PipelineRun(
        id=new_id(),
        repository=repository.name,
        pipeline=repository.pipeline,
        commit=change.commit,
        ref=change.ref,
        paths=tuple(change.paths) or None,
        reason="code",
        why=f"commit {change.commit[:7]}" + (f" by {change.author}" if change.author else ""),
        cause=Cause.of(event).to_json(),
        created_at=clock.now(),
    )
    await _enqueue(uow, run)


async def enqueue_request(
    uow: UnitOfWork, request: RetrainRequested, cause: Cause, repository: Repository
) -> PipelineRun:
    """Queue a run of the newest commit; joined with one that waits already."""
    if request.captured:
        changes = {"captured": request.captured}
        await Repositories(uow.connection).update(repository.name, **changes)
    run = PipelineRun(
        id=new_id(),
        repository=repository.name,
        pipeline=repository.pipeline,
        ref=f"refs/heads/{repository.branch}",
        reason=request.reason,
        why=request.why or f"{request.reason}, asked for by {request.requested_by}",
        cause=cause.to_json(),
        created_at=clock.now(),
    )
    return await _enqueue(uow, run)


async def request_run(uow: UnitOfWork, request: RunRequest) -> PipelineRun:
    """Ask for a run as a person does; NotFoundError for a pipeline that no repository has.

    InvalidError unless the request names either a pipeline or a repository.
    """
    await uow.lock(QUEUE_LOCK)
    repository = await _requested_repository(Repositories(uow.connection), request)
    requested = RetrainRequested(
        pipeline=repository.pipeline or repository.name,
        reason="person",
        requested_by=request.by,
        why=request.why,
        captured=request.captured,
    )
    event = await _emit_request(uow, requested)
    return await enqueue_request(uow, requested, Cause.of(event), repository)


async def retry_run(uow: UnitOfWork, run_id: str, by: str) -> PipelineRun:
    """Queue a run of the same commit and captured rows; ConflictError unless the run has ended.

    NotFoundError without the run.
    """
    await uow.lock(QUEUE_LOCK)
    runs = PipelineRuns(uow.connection)
    run = await runs.get(run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id}")
    if not run.ended:
        raise ConflictError(f"run {run_id} is {run.status}; only a run that has ended is retried")
    if await Repositories(uow.connection).get(run.repository) is None:
        raise ConflictError(f"repository {run.repository} was removed; add it again first")
    waiting = [other for other in await runs.queued(run.repository) if other.retry_of == run_id]
    if waiting:
        raise ConflictError(f"run {waiting[0].id} waits already; it is a retry of {run_id}")
    return await _retried(uow, run, by)


async def _retried(uow: UnitOfWork, run: PipelineRun, by: str) -> PipelineRun:
    again = new_id()
    why = f"retry of run {run.id} by {by}"
    name = run.pipeline or run.repository
    request = RetrainRequested(
        pipeline=name, reason="person", requested_by=by, why=why, captured=run.captured
    )
    uow.follow(Cause.from_json(dict(run.cause)), f"loopwright/trainer/{again}")
    event = await _emit_request(uow, request)
    new = PipelineRun(
        id=again,
        repository=run.repository,
        pipeline=run.pipeline,
        commit=run.commit,
        ref=run.ref,
        reason="person",
        why=why,
        cause=joined_causes(run.cause, Cause.of(event).to_json()),
        captured=run.captured,
        retry_of=run.id,
        created_at=clock.now(),
    )
    await PipelineRuns(uow.connection).insert(new)
    return new


async def _emit_request(uow: UnitOfWork, request: RetrainRequested) -> Event[Payload]:
    """Emit a person's request; it counts as handled already, for its run is queued here."""
    name = request.pipeline
    event = await uow.emit(request, key=name, subject=f"pipelines/{name}")
    row = {"consumer": CONSUMER, "event_id": event.id, "handled_at": clock.now()}
    await upsert(uow.connection, inbox, row)
    return event


async def _requested_repository(repositories: Repositories, request: RunRequest) -> Repository:
    if request.pipeline and not request.repository:
        if found := await repositories.of_pipeline(request.pipeline):
            return found
        raise NotFoundError(f"no repository has the pipeline {request.pipeline}")
    if request.repository and not request.pipeline:
        if found := await repositories.get(request.repository):
            return found
        raise NotFoundError(f"no repository {request.repository}")
    raise InvalidError("name either the pipeline or the repository", field="pipeline")


async def _enqueue(uow: UnitOfWork, run: PipelineRun) -> PipelineRun:
    runs = PipelineRuns(uow.connection)
    queued = await runs.queued(run.repository)
    waiting = next((o for o in queued if o.ref == run.ref and o.retry_of is None), None)
    if waiting is None:
        await runs.insert(run)
        return run
    if run.reason == "code" and waiting.reason == "code":
        newer = run.joined_by(waiting)
        newer = replace(newer, commit=run.commit, why=run.why, cause=run.cause)
        await finish_run(uow, waiting, RunOutcome(RunStatus.CANCELLED, f"superseded by {run.why}"))
        await runs.insert(newer)
        return newer
    joined = waiting.joined_by(run)
    await runs.save(joined)
    return joined

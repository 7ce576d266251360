"""What the trainer does on events: it queues runs; the worker executes them."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.delivery import BoundBy
from loopwright_common.events import CodeChanged, Event, RetrainRequested
from loopwright_trainer.runs.repository import Repositories
from loopwright_trainer.runs.service import QUEUE_LOCK
from loopwright_trainer.triggers import run_queue

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrainerHandlerContext:
    """What the handlers need beside the transaction."""

    wake_worker: Callable[[], None]
    """Called once a queued run can be read."""


async def on_code_changed(
    event: Event[CodeChanged], uow: UnitOfWork, context: TrainerHandlerContext
) -> None:
    """Outside systems announce what they like; only registered, watched branches run."""
    await uow.lock(QUEUE_LOCK)
    repository = await Repositories(uow.connection).get(event.data.repository)
    if repository is None or not repository.watches(event.data.ref):
        log.info("code-changed.ignored", repository=event.data.repository, ref=event.data.ref,
                 why="branch is not watched" if repository else "repository is not registered",
                 event_id=event.id)  # fmt: skip
        return
    await run_queue.enqueue_change(uow, event, repository)
    uow.after_commit.append(context.wake_worker)


async def on_retrain_requested(
    event: Event[RetrainRequested], uow: UnitOfWork, context: TrainerHandlerContext
) -> None:
    """A request names a pipeline or a repository; one that nobody has is ignored."""
    await uow.lock(QUEUE_LOCK)
    repositories = Repositories(uow.connection)
    name = event.data.pipeline
    repository = await repositories.of_pipeline(name) or await repositories.get(name)
    if repository is None:
        log.info("retrain-requested.ignored", pipeline=name, why="no repository has this pipeline",
                 event_id=event.id)  # fmt: skip
        return
    await run_queue.enqueue_request(uow, event.data, Cause.of(event), repository)
    uow.after_commit.append(context.wake_worker)


HANDLERS: BoundBy[TrainerHandlerContext] = {
    CodeChanged: on_code_changed,
    RetrainRequested: on_retrain_requested,
}

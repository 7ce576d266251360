"""The trainer, put together."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil
import structlog

from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, bind
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.errors import InvalidError
from loopwright_common.observability import tracing
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.service import Service, delivery_loops, delivery_readiness
from loopwright_common.sandbox import require
from loopwright_common.storage import open_store
from loopwright_common.web.app import add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_trainer.api import create_router
from loopwright_trainer.cache import api as cache_api
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.execution.worker import RunWorker
from loopwright_trainer.git.mirror import Mirrors
from loopwright_trainer.handlers import HANDLERS, TrainerHandlerContext
from loopwright_trainer.metrics import TrainerMetrics
from loopwright_trainer.settings import TrainerSettings
from loopwright_trainer.steps.confinement import StageConfinement
from loopwright_trainer.steps.runner import StepRunner
from loopwright_trainer.tracking.client import TrackingClient
from loopwright_trainer.triggers.repository_poller import RepositoryPoller
from loopwright_trainer.triggers.run_queue import CONSUMER

MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
_REGISTRY_SECONDS = 30
log = structlog.get_logger()


async def build(settings: TrainerSettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    """The trainer's service; what it opens is closed with `stack`."""
    stack.enter_context(settings.own_directory())
    database = await Database.open(settings.database_url, settings.service, MIGRATIONS)
    stack.push_async_callback(database.close)
    client = httpx.AsyncClient(
        base_url=settings.url_registry,
        timeout=_REGISTRY_SECONDS,
        trust_env=False,
        event_hooks={"request": [tracing.inject]},
    )
    stack.push_async_callback(client.aclose)
    return assemble(settings, bus, database, TrackingClient(client))


def assemble(
    settings: TrainerSettings, bus: EventBus, database: Database, tracking: TrackingClient
) -> Service:
    """The service over parts that are open already; the caller closes them."""
    metrics = Metrics()
    context = open_run_context(settings, database, tracking, TrainerMetrics(metrics.registry))
    worker = RunWorker(context, settings.parallel_runs, settings.lease)
    poller = RepositoryPoller(database, context.mirrors, settings.poll_seconds)
    handlers = bind(HANDLERS, TrainerHandlerContext(worker.wake))
    consumers = [Consumer(CONSUMER, handlers, database, bus, metrics)]
    guard = RequestGuard.of(settings)
    app = create_app(settings.service, metrics, delivery_readiness(database, consumers), guard)
    add_routes(app, create_delivery_router(database, consumers))
    add_routes(app, create_router(context, poller, wake=worker.wake, cancel=worker.cancel))
    add_routes(app, cache_api.create_router(context))
    return Service(
        name=settings.service,
        app=app,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        guard=guard,
        loops=[*delivery_loops(database, bus, metrics, consumers), worker.run, poller.run],
    )


def open_run_context(
    settings: TrainerSettings, database: Database, tracking: TrackingClient, metrics: TrainerMetrics
) -> RunContext:
    """All that runs are done with, as the settings say."""
    store = open_store(settings.artifact_store)
    directory = settings.work_directory
    mirrors = Mirrors(directory / "mirrors", settings.git_access)
    timeout, confinement = settings.stage_timeout_seconds, stage_confinement(settings)
    steps = StepRunner(database, store, timeout, metrics, confinement)
    return RunContext(database, store, mirrors, tracking, steps, directory, metrics)


def stage_confinement(settings: TrainerSettings) -> StageConfinement:
    """How stages are kept from everything else; SandboxTooWeakError below the minimum.

    InvalidError for a path of the settings that does not exist.
    """
    sandbox = require(settings.sandbox_minimum)
    log.info(
        "trainer.sandbox", sandbox=sandbox.level.value, why_not_more=sandbox.why_not_more or None
    )
    return StageConfinement(
        sandbox=sandbox,
        memory=settings.stage_memory or psutil.virtual_memory().total,
        processes=settings.stage_processes,
        disk=settings.stage_disk,
        readable=_paths(settings.stage_readable, "STAGE_READABLE"),
        writable=_paths(settings.stage_writable, "STAGE_WRITABLE"),
    )


def _paths(named: str, setting: str) -> tuple[Path, ...]:
    paths = tuple(Path(name).resolve() for name in named.split(":") if name)
    for path in paths:
        if not path.exists():
            raise InvalidError(f"LOOPWRIGHT_TRAINER_{setting}: {path} does not exist")
    return paths


def main() -> None:
    runtime.main(build, TrainerSettings(), MIGRATIONS)


if __name__ == "__main__":
    main()

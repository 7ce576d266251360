"""Composition of the registry."""

from contextlib import AsyncExitStack
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, bind
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.errors import LoopwrightError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.service import Service, delivery_loops, delivery_readiness
from loopwright_common.storage import open_store
from loopwright_common.web.app import Readiness, add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.mlflow_errors import mlflow_error_of
from loopwright_common.web.problems import problem_of
from loopwright_registry.archive import api as archive_api
from loopwright_registry.archive import handlers as archive_handlers
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.mlflow.endpoint import MlflowContext
from loopwright_registry.mlflow_api import (
    artifacts,
    experiments,
    logged_models,
    models,
    runs,
    versions,
)
from loopwright_registry.mlflow_api.app import create_mlflow_app
from loopwright_registry.runs import api as runs_api
from loopwright_registry.settings import RegistrySettings
from loopwright_registry.versions import api as versions_api
from loopwright_registry.versions import handlers as version_handlers

MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
MLFLOW_PATHS = ("/api", "/ajax-api")
ENDPOINTS = (
    *experiments.ENDPOINTS,
    *runs.ENDPOINTS,
    *logged_models.ENDPOINTS,
    *models.ENDPOINTS,
    *versions.ENDPOINTS,
    *artifacts.ENDPOINTS,
)


async def build(settings: RegistrySettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    database = await Database.open(settings.database_url, "registry", MIGRATIONS)
    stack.push_async_callback(database.close)
    store = open_store(settings.artifact_store)
    metrics = Metrics()
    feed = EventFeed(database, feed_limits(settings))
    context = MlflowContext(database, store, largest_upload=settings.largest_upload)
    lifecycle = bind(version_handlers.HANDLERS, settings.environment)
    archive = bind(archive_handlers.HANDLERS, feed)
    consumers = [
        Consumer("registry.lifecycle", lifecycle, database, bus, metrics),
        Consumer(
            "registry.archive",
            archive,
            database,
            bus,
            metrics,
            reset=archive_handlers.reset,
        ),
    ]
    readiness = {**delivery_readiness(database, consumers), "artifacts": store.check}
    guard = RequestGuard.of(settings, refuse)
    app = build_app(context, feed, metrics, readiness, guard)
    add_routes(app, create_delivery_router(database, consumers))
    return Service(
        name="registry",
        app=app,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        guard=guard,
        loops=[*delivery_loops(database, bus, metrics, consumers), feed.poll_other_replicas],
        before_shutdown=[feed.stop],
    )


def feed_limits(settings: RegistrySettings) -> FeedLimits:
    return FeedLimits(
        max_followers=settings.streams,
        per_client=settings.streams_per_client,
        heartbeat=settings.stream_heartbeat_seconds,
        poll=settings.stream_poll_seconds,
    )


def build_app(
    context: MlflowContext,
    feed: EventFeed,
    metrics: Metrics,
    readiness: Readiness,
    guard: RequestGuard | None = None,
) -> FastAPI:
    app = create_app("registry", metrics, readiness, guard or RequestGuard(refuse=refuse))

    @app.get("/health", tags=["health"], response_class=PlainTextResponse)
    async def health() -> str:
        """As MLflow's server answers."""
        return "OK"

    for router in (
        versions_api.create_router(context.database, context.store),
        runs_api.create_router(context.database),
        archive_api.create_router(context.database, feed),
    ):
        add_routes(app, router)
    mlflow = create_mlflow_app(ENDPOINTS, artifacts.streaming_routes(context), context)
    for path in MLFLOW_PATHS:
        app.mount(path, mlflow)
    return app


def refuse(path: str, error: LoopwrightError) -> Response:
    """An error in MLflow's shape below its paths, elsewhere as a problem."""
    is_mlflow = path.startswith(tuple(f"{prefix}/" for prefix in MLFLOW_PATHS))
    return mlflow_error_of(path, error) if is_mlflow else problem_of(path, error)


def main() -> None:
    runtime.main(build, RegistrySettings(), MIGRATIONS)


if __name__ == "__main__":
    main()

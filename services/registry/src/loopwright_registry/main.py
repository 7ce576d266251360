"""Composition of the registry."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse

from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.runtime import Service, delivery_loops, delivery_readiness
from loopwright_common.settings import LOOPBACK
from loopwright_common.storage import open_store
from loopwright_common.web.app import Readiness, create_app
from loopwright_registry.archive import api as events_api
from loopwright_registry.archive import handlers as archive_handlers
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import Feed
from loopwright_registry.mlflow.domain import check_text
from loopwright_registry.mlflow.json import Call
from loopwright_registry.mlflow_api import artifacts as artifacts_api
from loopwright_registry.mlflow_api import experiments as experiments_api
from loopwright_registry.mlflow_api import logged_models as logged_api
from loopwright_registry.mlflow_api import models as models_api
from loopwright_registry.mlflow_api import runs as runs_api
from loopwright_registry.mlflow_api import versions
from loopwright_registry.mlflow_api.app import mlflow_app
from loopwright_registry.runs import api as runs_native_api
from loopwright_registry.settings import RegistrySettings
from loopwright_registry.versions import api
from loopwright_registry.versions import handlers as models_handlers

MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
ENDPOINTS = (
    *experiments_api.ENDPOINTS,
    *runs_api.ENDPOINTS,
    *logged_api.ENDPOINTS,
    *models_api.ENDPOINTS,
    *versions.ENDPOINTS,
    *artifacts_api.ENDPOINTS,
)


async def build(settings: RegistrySettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    database = await Database.open(settings.database_url, "registry", MIGRATIONS)
    stack.push_async_callback(database.close)
    store = open_store(settings.artifacts_url)
    metrics = Metrics()
    feed = Feed(database, feed_limits(settings))
    call = Call(database, store, largest_upload=settings.largest_upload)
    lifecycle = models_handlers.handlers(settings.environment)
    consumers = [
        Consumer("registry.lifecycle", lifecycle, database, bus, metrics),
        Consumer(
            "registry.archive",
            archive_handlers.handlers(feed),
            database,
            bus,
            metrics,
            reset=archive_handlers.reset,
        ),
    ]
    readiness = {**delivery_readiness(database, consumers), "artifacts": store.check}
    app = build_app(call, feed, metrics, readiness, settings.hosts)
    app.include_router(create_delivery_router(database, consumers))
    return Service(
        name="registry",
        app=app,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        loops=[*delivery_loops(database, bus, metrics, consumers), feed.watch],
        before_shutdown=[feed.stop],
    )


def feed_limits(settings: RegistrySettings) -> FeedLimits:
    return FeedLimits(
        most=settings.streams,
        heartbeat=settings.stream_heartbeat_seconds,
        poll=settings.stream_poll_seconds,
    )


def build_app(
    call: Call,
    feed: Feed,
    metrics: Metrics,
    readiness: Readiness,
    hosts: Collection[str] = LOOPBACK,
) -> FastAPI:
    app = create_app("registry", metrics, readiness, hosts)

    @app.get("/health", tags=["health"], response_class=PlainTextResponse)
    async def health() -> str:
        """As MLflow's server answers."""
        return "OK"

    for router in (
        api.router(call.database, call.store),
        runs_native_api.router(call.database),
        events_api.router(call.database, feed),
    ):
        app.include_router(router, dependencies=[Depends(require_text)])
    mlflow = mlflow_app(ENDPOINTS, artifacts_api.routes(call), call)
    app.mount("/api", mlflow)
    app.mount("/ajax-api", mlflow)
    return app


def require_text(request: Request) -> None:
    """InvalidError for a name in the path or the query that no database could look for."""
    for name, value in [*request.path_params.items(), *request.query_params.multi_items()]:
        check_text(name, str(value))


def main() -> None:
    runtime.main(build, RegistrySettings(), MIGRATIONS)


if __name__ == "__main__":
    main()

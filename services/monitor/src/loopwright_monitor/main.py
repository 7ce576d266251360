"""Composition root of the monitor."""

from contextlib import AsyncExitStack
from pathlib import Path

from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, bind
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.service import Service, delivery_loops, delivery_readiness
from loopwright_common.storage import open_store
from loopwright_common.web.app import add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_monitor import worker
from loopwright_monitor.api import create_router
from loopwright_monitor.handlers import HANDLERS, MonitorContext
from loopwright_monitor.metrics import MonitorMetrics
from loopwright_monitor.settings import MonitorSettings
from loopwright_monitor.signals import WakeSignals

MIGRATIONS = Path(__file__).parent / "migrations" / "versions"


async def build(settings: MonitorSettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    database = await Database.open(settings.database_url, "monitor", MIGRATIONS)
    stack.push_async_callback(database.close)
    store = open_store(settings.artifact_store)
    metrics, signals = Metrics(), WakeSignals()
    context = MonitorContext(store, signals, settings.environment)
    consumers = [
        Consumer(name, bind(handlers, context), database, bus, metrics)
        for name, handlers in HANDLERS.items()
    ]
    lifecycle, detect, capture = consumers
    readiness = {**delivery_readiness(database, consumers), "artifacts": store.check}
    guard = RequestGuard.of(settings)
    app = create_app("monitor", metrics, readiness, guard)
    add_routes(app, create_delivery_router(database, consumers))
    add_routes(app, create_router(database, store))
    return Service(
        name="monitor",
        app=app,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        guard=guard,
        loops=[
            *delivery_loops(database, bus, metrics, [lifecycle, detect]),
            worker.once_preloaded(capture.run, database),
            worker.profile_loop(database, store, signals),
            worker.review_loop(database, store, signals, settings.run_timeout),
            worker.canary_labels_loop(database, signals),
            worker.measure_loop(database, MonitorMetrics(metrics.registry), settings.measure_every),
            worker.prune_loop(database, settings.label_horizon),
        ],
    )


def main() -> None:
    runtime.main(build, MonitorSettings(), MIGRATIONS)


if __name__ == "__main__":
    main()

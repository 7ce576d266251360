"""The deployer's composition root."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from loopwright_common.bus import EventBus, TableReader
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, bind
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.events import ReplicaReported, RowsCaptured
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.service import Service, delivery_loops, delivery_readiness
from loopwright_common.sandbox import require
from loopwright_common.storage import open_store
from loopwright_common.web.app import add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_deployer.api import create_report_router, create_router
from loopwright_deployer.controller import DeploymentController
from loopwright_deployer.handlers import COUNTER_HANDLERS, LIFECYCLE_HANDLERS, DeployerContext
from loopwright_deployer.routing.reconciliation import RouteReconciliation
from loopwright_deployer.settings import DeployerSettings
from loopwright_deployer.staging.checks.registry import CHECKS
from loopwright_deployer.staging.own_checks.installed import installed_checks
from loopwright_deployer.staging.runner import StagingOptions, StagingRunner

MEASURES_TOGETHER = 256
"""Reports that share a transaction are merged by a few statements, however many they are."""
MIGRATIONS = Path(__file__).parent / "migrations" / "versions"


async def build(settings: DeployerSettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    """The service, ready to run; what it opens is closed with the stack."""
    database = await Database.open(settings.database_url, "deployer", MIGRATIONS)
    stack.push_async_callback(database.close)
    stack.enter_context(settings.own_directory())
    captured = TableReader(bus, RowsCaptured)
    store = open_store(settings.artifact_store)
    checks = (*CHECKS, *installed_checks())
    staging = StagingRunner(staging_options(settings), store, captured, checks)
    stack.push_async_callback(staging.close)
    metrics = Metrics()
    replicas = TableReader(bus, ReplicaReported)
    lease = timedelta(seconds=settings.lease_seconds)
    controller = DeploymentController(database, staging, replicas, lease)
    reconciliation = RouteReconciliation(database, bus, replicas)
    context = DeployerContext(settings.environment, controller.wake, controller.count)
    lifecycle, counters = bind(LIFECYCLE_HANDLERS, context), bind(COUNTER_HANDLERS, context)
    consumers = [
        Consumer("deployer.lifecycle", lifecycle, database, bus, metrics),
        Consumer("deployer.measures", counters, database, bus, metrics, batch=MEASURES_TOGETHER),
    ]
    guard = RequestGuard.of(settings)
    app = create_app("deployer", metrics, delivery_readiness(database, consumers), guard)
    add_routes(app, create_delivery_router(database, consumers))
    wake, skippable = controller.wake, settings.skippable
    add_routes(app, create_router(database, settings.environment, wake, lease, skippable))
    add_routes(app, create_report_router(database, store))
    return Service(
        name="deployer",
        app=app,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        guard=guard,
        loops=[
            *delivery_loops(database, bus, metrics, consumers),
            replicas.run,
            captured.run,
            controller.run,
            reconciliation.run,
        ],
    )


def staging_options(settings: DeployerSettings) -> StagingOptions:
    """SandboxTooWeakError where the machine permits less than the minimum.

    InvalidError where the settings of what may be reached say nothing of the kind.
    """
    return StagingOptions(
        work_dir=settings.work_dir,
        warm_processes=settings.warm_processes,
        time_limit=settings.stage_seconds,
        outage_limit=timedelta(seconds=settings.index_outage_seconds),
        may_unpickle=settings.may_unpickle,
        sandbox=require(settings.sandbox_minimum),
        memory=settings.stage_memory,
        index_access=settings.index_access,
        webhook_rules=settings.webhook_rules,
    )


def main() -> None:
    runtime.main(build, DeployerSettings(), MIGRATIONS)


if __name__ == "__main__":
    main()

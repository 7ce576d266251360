"""What a scorer's replica reports of the present route, without a scorer."""

from typing import Any

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.events import ServedRoute, ServingMeasured
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.routing.routes import RouteRevisions, RouteRow
from tests.deployer.builders import MODEL, MODEL_ID, publish, replica


async def present_route(database: Database) -> RouteRow | None:
    async with database.read() as connection:
        return await RouteRevisions(connection).get("production", MODEL_ID)


async def shares(database: Database) -> dict[int, float]:
    """The weights of the versions that have a share of the traffic."""
    row = await present_route(database)
    return {arm.version: round(arm.weight, 3) for arm in row.route.arms} if row else {}


async def loaded(database: Database) -> set[int]:
    """The versions that scorers keep without a share of the traffic."""
    row = await present_route(database)
    return {arm.version for arm in row.route.kept} if row else set()


async def revision(database: Database) -> int:
    row = await present_route(database)
    return row.route.revision if row else 0


async def serve(database: Database, bus: EventBus, **more: Any) -> None:
    """The replica reports the present revision."""
    route = ServedRoute(model_id=MODEL_ID, revision=await revision(database), **more)
    await publish(bus, replica(route), "r1")


async def count(database: Database, version: int, calls: int, errors: int, **more: Any) -> None:
    report = ServingMeasured(
        environment="production", model_id=MODEL_ID, model=MODEL, replica="r1", epoch="e1",
        revision=await revision(database), version=version, role="live", calls=calls, rows=calls,
        errors=errors, latency_edges=[0.01], latency_counts=[calls, 0], **more,
    )  # fmt: skip
    async with database.unit_of_work() as uow:
        await CanaryCounters(uow.connection).merge(report)

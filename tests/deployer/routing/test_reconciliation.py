"""What deployer and replicas share is kept in order: lost routes, replicas that are gone."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.events import ReplicaReported, ServedRoute
from loopwright_common.observability.metrics import Metrics
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.deployments.tables import routes
from loopwright_deployer.routing.reconciliation import RouteReconciliation
from tests.deployer.builders import MODEL_ID, publish, published_events, replica
from tests.deployer.lifecycle import lead_to

LONG_AGO = clock.now() - timedelta(minutes=1)


@pytest.fixture
async def replicas(bus: EventBus) -> AsyncGenerator[TableReader[ReplicaReported], None]:
    reader = TableReader(bus, ReplicaReported)
    task = asyncio.create_task(reader.run())
    yield reader
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_route_that_a_replica_missed_is_told_again(
    database: Database, bus: EventBus, replicas: TableReader[ReplicaReported]
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    async with database.unit_of_work() as uow:
        await uow.connection.execute(sa.update(routes).values(changed_at=LONG_AGO))
    relay = asyncio.create_task(OutboxRelay(database, bus, Metrics()).run())
    await publish(bus, replica(ServedRoute(model_id=MODEL_ID, revision=0)), "r1")
    await replicas.ready.wait()
    while "r1" not in replicas.rows:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    await RouteReconciliation(database, bus, replicas).reconcile_once()

    while len(repeated := await published_events(bus, "routes-changed")) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    assert [event.data.revision for event in repeated] == [1, 1]
    assert repeated[0].id != repeated[1].id


async def test_a_silent_replica_is_taken_off_the_table(
    database: Database, bus: EventBus, replicas: TableReader[ReplicaReported]
) -> None:
    await publish(bus, replica(at=LONG_AGO), "r1")
    await publish(bus, replica(name="r2"), "r2")
    while len(replicas.rows) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    reconciliation = RouteReconciliation(database, bus, replicas)
    await reconciliation.reconcile_once()
    await reconciliation.reconcile_once()

    while "r1" in replicas.rows:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert list(replicas.rows) == ["r2"]


async def test_for_a_champion_that_does_harm_a_person_is_asked(
    database: Database, bus: EventBus, replicas: TableReader[ReplicaReported]
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    reconciliation = RouteReconciliation(database, bus, replicas)

    async def waits(**told: dict[str, str]) -> str | None:
        """What the champion waits for, once the replica has told this."""
        route = ServedRoute(model_id=MODEL_ID, revision=1, **told)
        await publish(bus, replica(route), "r1")
        while "r1" not in replicas.rows or replicas.rows["r1"].data.routes != [route]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await reconciliation.reconcile_once()
        async with database.read() as connection:
            champion = await Deployments(connection).champion("production", MODEL_ID)
        assert champion is not None
        return champion.deployment.waits

    await replicas.ready.wait()
    asked = "needs a person: replica r1: it hung; roll back or promote another version"
    assert await waits(tripped={"1": "it hung"}) == asked
    assert await waits(tripped={"2": "it hung"}) is None

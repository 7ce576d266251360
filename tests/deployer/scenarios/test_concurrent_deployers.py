"""Several deployers on one PostgreSQL: what one of them decides, the others take as decided."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.database import leases
from loopwright_common.database.database import Database
from loopwright_common.database.leases import LeaseLostError
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError
from loopwright_common.events import ReplicaReported, ServingMeasured
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import add_routes, create_app
from loopwright_deployer.api import create_router
from loopwright_deployer.canary.call_counts import CounterKey
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.ownership import lease_name
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.main import MIGRATIONS
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing.canary_observer import CanaryObserver
from loopwright_deployer.routing.routes import RouteRevisions
from loopwright_deployer.steps import DeploymentSteps
from tests.deployer.builders import MODEL, MODEL_ID, registered
from tests.deployer.controllers import staging_runner
from tests.deployer.lifecycle import CAUSE, latest, lead_to

PLACE = ("production", MODEL_ID)
REQUEST = OperatorRequest("ada", "because")
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
Work = Callable[[UnitOfWork], Awaitable[object]]


@pytest.fixture
async def other(database_url: str, database: Database) -> AsyncGenerator[Database, None]:
    """The database as another deployer has opened it."""
    opened = await Database.open(database_url, "deployer", MIGRATIONS)
    yield opened
    await opened.close()


async def at_once(first: Database, one: Work, second: Database, another: Work) -> None:
    """Both units of work, the second begun when all of the first is done but its commit."""
    async with asyncio.TaskGroup() as group, first.unit_of_work() as uow:
        await one(uow)
        group.create_task(_do(second, another))
        await asyncio.sleep(0.3)


async def _do(database: Database, work: Work) -> None:
    async with database.unit_of_work() as uow:
        await work(uow)


def steps_of(
    database: Database, bus: EventBus, tmp_path: Path, lease: leases.Lease
) -> DeploymentSteps:
    observer = CanaryObserver(database, TableReader(bus, ReplicaReported))
    return DeploymentSteps(database, staging_runner(tmp_path), observer, lease)


def measured(calls: int, slow: int) -> ServingMeasured:
    return ServingMeasured(
        environment="production", model_id=MODEL_ID, model=MODEL, replica="r", epoch="e",
        revision=1, version=2, role="live", calls=calls, rows=calls, errors=0,
        latency_edges=[0.1], latency_counts=[calls - slow, slow],
    )  # fmt: skip


@on_postgresql
async def test_versions_heard_of_at_once_do_not_miss_each_other(
    database: Database, other: Database
) -> None:
    def receive(version: int) -> Work:
        return lambda uow: service.start_deployment(uow, registered(version), "production", CAUSE)

    await at_once(database, receive(1), other, receive(2))

    assert (await latest(database, 1)).deployment.state is DeploymentState.SUPERSEDED
    assert (await latest(database, 2)).deployment.state is DeploymentState.RECEIVED


@on_postgresql
async def test_of_two_wishes_at_once_the_later_one_hears_of_the_earlier(
    database: Database, other: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)

    async def skipped(uow: UnitOfWork) -> None:
        current = await service.lock_deployment(uow, record.deployment.id)
        await skip(uow, current, REQUEST, "canary")

    async def paused(uow: UnitOfWork) -> None:
        current = await service.lock_deployment(uow, record.deployment.id)
        await ACTIONS["pause"](uow, current, REQUEST)

    with pytest.raises(ExceptionGroup) as refused:
        await at_once(database, skipped, other, paused)

    assert "is promoting" in str(refused.value.exceptions[0])
    assert (await latest(database, 2)).deployment.state is DeploymentState.PROMOTING


@on_postgresql
@pytest.mark.parametrize("known", [False, True])
async def test_counters_merged_at_once_lose_nothing(
    database: Database, other: Database, known: bool
) -> None:
    def take(calls: int, slow: int) -> Work:
        return lambda uow: CanaryCounters(uow.connection).merge(measured(calls, slow))

    if known:
        await _do(database, take(10, 1))
    await at_once(database, take(30, 2), other, take(20, 9))

    async with database.read() as connection:
        kept = (await CanaryCounters(connection).of_model(*PLACE))[CounterKey("r", "e", 1, 2)]
    assert (kept.calls, kept.latency_counts) == (30, (28, 9))


async def test_what_is_decided_during_a_step_is_kept(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    seen = await lead_to(database, 2, DeploymentState.VALIDATED)
    async with database.unit_of_work() as uow:
        lease = await leases.acquire(uow, lease_name(seen.deployment.id))
        current = await service.lock_deployment(uow, seen.deployment.id)
        await skip(uow, current, REQUEST, "canary")
    assert lease is not None

    steps = steps_of(database, bus, tmp_path, lease).by_state[DeploymentState.VALIDATED]
    with pytest.raises(ConflictError):
        await steps(seen)
    await steps(await latest(database, 2))

    assert (await latest(database, 2)).deployment.state is DeploymentState.PROMOTING


async def test_a_deployer_that_was_away_too_long_changes_nothing(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    seen = await lead_to(database, 1, DeploymentState.RECEIVED)
    name = lease_name(seen.deployment.id)
    async with database.unit_of_work() as uow:
        lost = await leases.acquire(uow, name, timedelta(milliseconds=1))
    await asyncio.sleep(0.01)
    async with database.unit_of_work() as uow:
        assert lost is not None
        assert await leases.acquire(uow, name) is not None

    steps = steps_of(database, bus, tmp_path, lost)
    with pytest.raises(LeaseLostError):
        await steps.by_state[DeploymentState.RECEIVED](seen)
    with pytest.raises(LeaseLostError):
        await steps.explain_wait(seen, "still here")

    assert await latest(database, 1) == seen


async def test_the_database_has_room_for_one_champion_and_one_on_its_way(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    third = await lead_to(database, 3, DeploymentState.VALIDATED)

    for forbidden in (
        replace(third.deployment, state=DeploymentState.CANARY),
        replace(third.deployment, state=DeploymentState.PAUSED, paused_from=DeploymentState.CANARY),
        replace(third.deployment, champion=True),
    ):
        with pytest.raises(ConflictError, match="another version of the model"):
            async with database.unit_of_work() as uow:
                await Deployments(uow.connection).update(
                    replace(third, deployment=forbidden), third.deployment
                )


async def test_a_route_is_never_replaced_by_one_that_is_no_newer(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    async with database.read() as connection:
        row = await RouteRevisions(connection).get(*PLACE)
    assert row is not None

    async def put(revision: int) -> None:
        older = replace(row, route=replace(row.route, revision=revision))
        async with database.unit_of_work() as uow:
            await RouteRevisions(uow.connection).save(older)

    for revision in (row.route.revision, row.route.revision - 1):
        with pytest.raises(ConflictError):
            await put(revision)


@on_postgresql
async def test_people_learn_who_works_on_a_deployment_and_when_another_will(
    database: Database,
) -> None:
    deployment = (await lead_to(database, 1, DeploymentState.RECEIVED)).deployment
    app = create_app("deployer", Metrics(), {})
    add_routes(
        app, create_router(database, "production", lambda _model: None, timedelta(seconds=10))
    )
    api = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")

    async def shown_with(remaining: float) -> str:
        async with database.unit_of_work() as uow:
            lease = await leases.acquire(
                uow, lease_name(deployment.id), timedelta(seconds=remaining)
            )
        shown = (await api.get(f"/v1/deployments/{deployment.id}")).json()["why"]
        assert lease is not None
        async with database.unit_of_work() as uow:
            await leases.release(uow, lease)
        return str(shown)

    me = f"{socket.gethostname()}/{os.getpid()}"
    async with api:
        assert await shown_with(10) == f"registered; the deployer {me} works on it"
        silent = await shown_with(2)
        ended = await shown_with(-1)
    assert f"the deployer {me} that worked on it has not been heard of since 20" in silent
    assert "; another takes over at 20" in silent
    assert ended.endswith("; waits for another to take over")

"""Aliases of the registry in the route: what can be named is loaded, and the canary goes on."""

from dataclasses import replace

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.errors import ConflictError
from loopwright_common.events import AliasChanged, RoutesChanged, ServingMeasured
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import resume
from loopwright_deployer.routing import route_revisions
from loopwright_deployer.routing.routes import RouteRevisions, RouteRow
from tests.deployer.builders import MODEL, MODEL_ID
from tests.deployer.delivery import deliver
from tests.deployer.lifecycle import advance_once, latest, lead_to

PLACE = ("production", MODEL_ID)


def alias(name: str, version: int | None) -> AliasChanged:
    return AliasChanged(model_id=MODEL_ID, model=MODEL, alias=name, version=version, by="ada")


async def route(database: Database) -> RouteRow:
    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    assert row is not None
    return row


def kept(row: RouteRow) -> set[int]:
    return {arm.version for arm in row.route.kept}


async def test_a_named_version_stays_loaded_until_its_name_moves(
    database: Database, bus: EventBus
) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.PROMOTED, deploy={"keep": 1})
    assert kept(await route(database)) == {2}

    await deliver(database, bus, alias("stable", 1), alias("champion", 3), times=2)
    named = await route(database)
    await deliver(database, bus, alias("stable", None))
    gone = await route(database)

    assert (named.aliases, kept(named)) == ({"stable": 1}, {1, 2})
    assert (gone.aliases, kept(gone)) == ({}, {2})
    assert gone.route.revision == named.route.revision + 1


async def test_a_name_is_told_once_its_version_has_passed_staging(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await deliver(database, bus, alias("next", 2))
    before = await route(database)
    await lead_to(database, 2, DeploymentState.VALIDATED, deploy={"approval": {}})
    async with database.unit_of_work() as uow:
        await route_revisions.publish_aliases(uow, "production", MODEL_ID)

    after = await route(database)
    assert (before.aliases, kept(before)) == ({}, set())
    assert (after.aliases, kept(after)) == ({"next": 2}, {2})


async def test_what_staging_is_unclear_about_is_named_once_a_person_accepts_it(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.STAGING)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "inconclusive")
    await deliver(database, bus, alias("next", 2))
    before, paused = await route(database), await latest(database, 2)
    async with database.unit_of_work() as uow:
        await resume(uow, paused, OperatorRequest("ada", "fine"))

    after = await route(database)
    assert (before.aliases, kept(before)) == ({}, set())
    assert (after.aliases, kept(after)) == ({"next": 2}, {2})


async def test_a_canarys_evidence_goes_on_when_a_name_moves(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)
    before = await route(database)
    await deliver(database, bus, alias("newest", 2))

    after = await route(database)
    async with database.read() as connection:
        revisions = await RouteRevisions(connection).revisions_of([record.deployment.id])
    assert after.route.arms == before.route.arms
    assert after.aliases == {"newest": 2}
    assert revisions[record.deployment.id] == [before.route.revision, after.route.revision]


async def counted(database: Database) -> set[int]:
    """Revisions of which there are counters."""
    async with database.read() as connection:
        return {key.revision for key in await CanaryCounters(connection).of_model(*PLACE)}


async def test_what_a_canary_is_judged_by_outlasts_any_number_of_revisions(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)
    measured = {(await route(database)).route.revision + n for n in (-1, 0)}
    for revision in measured:
        async with database.unit_of_work() as uow:
            await CanaryCounters(uow.connection).merge(calls(revision))

    await deliver(database, bus, *(alias("newest", 1 + n % 2) for n in range(40)))
    during = await counted(database)
    async with database.unit_of_work() as uow:
        current = await service.lock_deployment(uow, record.deployment.id)
        await service.advance(uow, current, DeploymentState.ROLLED_BACK, "errors")
    await deliver(database, bus, alias("newest", 1))

    assert during == measured
    assert await counted(database) == set()


def calls(revision: int) -> ServingMeasured:
    return ServingMeasured(
        environment="production", model_id=MODEL_ID, model=MODEL, replica="r1", epoch="e1",
        revision=revision, version=1, role="live", calls=5, rows=5, errors=0,
        latency_edges=[0.01], latency_counts=[5, 0],
    )  # fmt: skip


async def test_the_scorers_are_told_aliases_and_what_to_record(
    database: Database, bus: EventBus
) -> None:
    record = {"sample": 0.5, "redact": ["age"]}
    await lead_to(database, 1, DeploymentState.PROMOTED, deploy={"record": record})
    await deliver(database, bus, alias("stable", 1))
    row = await route(database)

    assert row.record is not None
    assert row.record.model_dump() == record
    assert row.aliases == {"stable": 1}


def test_routes_of_before_read_as_recording_everything() -> None:
    body = b'{"environment":"e","model_id":"m","model":"m","revision":1,"arms":[]}'

    told = RoutesChanged.from_bytes(body)

    assert (told.aliases, told.record) == ({}, None)


async def test_what_staging_has_not_opened_gets_no_traffic(database: Database) -> None:
    """A serving package alone is not enough: scorers open it in their own process."""
    record = await lead_to(database, 1, DeploymentState.STAGING)
    assert record.deployment.served is not None

    with pytest.raises(ConflictError, match="has not passed staging"):
        route_revisions.served_package(record)
    staged = replace(record, deployment=replace(record.deployment, staged=True))
    assert route_revisions.served_package(staged) == record.deployment.served

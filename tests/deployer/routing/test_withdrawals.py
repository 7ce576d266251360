"""A canary whose time is over gives its share back, unless its policy says that it stays."""

import pytest

from loopwright_common.database.database import Database
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing.routes import RouteRevisions
from tests.deployer.builders import MODEL_ID
from tests.deployer.delivery import emitted
from tests.deployer.lifecycle import advance_once, latest, lead_to

REQUEST = OperatorRequest("ada", "calls come now")


async def shares(database: Database) -> dict[int, float]:
    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    return {arm.version: round(arm.weight, 3) for arm in row.route.arms} if row else {}


async def work(database: Database, version: int, verdict: str = "passed") -> None:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, verdict)


@pytest.fixture
async def paused(database: Database) -> None:
    """Version 2, paused in its second step, since nobody called."""
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await work(database, 2)
    assert await shares(database) == {1: 0.5, 2: 0.5}
    await work(database, 2, "inconclusive")


@pytest.mark.usefixtures("paused")
async def test_the_champion_serves_everything_until_a_person_decides(database: Database) -> None:
    deployment = (await latest(database, 2)).deployment

    assert deployment.state is DeploymentState.PAUSED
    assert deployment.why == "no traffic; the champion serves all until a person decides"
    assert await shares(database) == {1: 1.0}


@pytest.mark.usefixtures("paused")
async def test_the_resumed_canary_begins_with_its_first_step(database: Database) -> None:
    record = await latest(database, 2)
    async with database.unit_of_work() as uow:
        await ACTIONS["resume"](uow, record, REQUEST)
    await work(database, 2)

    deployment = (await latest(database, 2)).deployment

    assert (deployment.state, deployment.step) == (DeploymentState.CANARY, 0)
    assert deployment.deadline is not None
    assert await shares(database) == {1: 0.9, 2: 0.1}


@pytest.mark.usefixtures("paused")
async def test_a_newer_version_takes_its_place(database: Database) -> None:
    await lead_to(database, 3, DeploymentState.CANARY)

    assert (await latest(database, 2)).deployment.state is DeploymentState.SUPERSEDED
    assert await shares(database) == {1: 0.9, 3: 0.1}


async def test_a_canary_stays_where_its_policy_says_so(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY, deploy={"canary": {"then": "stay"}})
    await work(database, 2, "inconclusive")

    deployment = (await latest(database, 2)).deployment

    assert deployment.why == "no traffic; it keeps its share until a person decides"
    assert deployment.carries_traffic
    assert await shares(database) == {1: 0.9, 2: 0.1}


@pytest.mark.usefixtures("paused")
async def test_every_change_is_an_event_and_a_pause_says_what_a_person_may_do(
    database: Database,
) -> None:
    changes = await emitted(database, "deployment-changed")

    told = [(c["version"], c["state"], c["weight"]) for c in changes if c["version"] == 2]
    assert told == [
        (2, "received", 0), (2, "packaging", 0), (2, "staging", 0), (2, "validated", 0),
        (2, "canary", 0.1), (2, "canary", 0.5), (2, "paused", 0),
    ]  # fmt: skip
    canary, paused = changes[-2], changes[-1]
    assert canary["then"] == "pause"
    assert canary["until"]
    assert paused["decisions"] == ["resume", "skip", "abort"]
    assert paused["why"].startswith("no traffic; the champion serves all")

"""What was found of a version holds beside the champion that it was found beside."""

import pytest

from loopwright_common.database.database import Database
from loopwright_common.errors import ConflictError
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing import transitions
from tests.deployer.lifecycle import advance_once, latest, lead_to


async def after(database: Database, version: int, verdict: str = "passed") -> DeploymentRecord:
    """The deployment after what the worker does next with it."""
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, verdict)
    return await latest(database, version)


async def test_a_version_staged_beside_a_former_champion_is_staged_again(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    second = await lead_to(database, 2, DeploymentState.CANARY)
    third = await lead_to(database, 3, DeploymentState.VALIDATED)
    assert third.deployment.staged_against == 1
    while second.deployment.state is not DeploymentState.PROMOTED:
        second = await after(database, 2)

    again = await after(database, 3)
    assert again.deployment.state is DeploymentState.STAGING
    assert again.deployment.why == (
        "version 2 is champion by now, version 1 was champion when it was staged: "
        "its verdicts are made anew"
    )
    assert (await after(database, 3)).deployment.staged_against == 2
    assert (await after(database, 3)).deployment.state is DeploymentState.CANARY


async def test_a_version_that_does_worse_than_the_new_champion_is_rejected(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await lead_to(database, 3, DeploymentState.VALIDATED)
    while (await after(database, 2)).deployment.state is not DeploymentState.PROMOTED:
        pass
    await after(database, 3)

    rejected = (await after(database, 3, verdict="failed")).deployment

    assert rejected.state is DeploymentState.REJECTED
    assert not rejected.staged


async def test_no_person_skips_the_staging_beside_a_new_champion(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    third = await lead_to(database, 3, DeploymentState.VALIDATED)
    while (await after(database, 2)).deployment.state is not DeploymentState.PROMOTED:
        pass
    async with database.unit_of_work() as uow:
        await skip(uow, third, OperatorRequest("ada", "hurry"), "canary")

    assert (await after(database, 3)).deployment.state is DeploymentState.STAGING
    assert (await after(database, 3)).deployment.gates == {}
    assert (await after(database, 3)).deployment.state is DeploymentState.CANARY


async def test_all_traffic_comes_through_all_gates_only(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    approval = {"approval": {"roles": ["approver"]}}
    unstaged = await lead_to(database, 2, DeploymentState.PACKAGING)
    unapproved = await lead_to(database, 3, DeploymentState.APPROVAL, deploy=approval)
    approved = transitions.with_gate(unapproved, Gate.APPROVAL, "approved by eve")

    for record, missing in (
        (unstaged, "has not passed staging"),
        (unapproved, "needs an approval"),
        (approved, "is promoted by its canary's evidence"),
    ):
        with pytest.raises(ConflictError, match=missing):
            async with database.unit_of_work() as uow:
                await transitions.promote(uow, record, "hurry")
    for record in (unstaged, unapproved):
        with pytest.raises(ConflictError):
            async with database.unit_of_work() as uow:
                await transitions.begin_step(uow, record)


async def test_a_replaced_version_is_superseded_and_says_by_what(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.PROMOTED)

    replaced = (await latest(database, 1)).deployment

    assert (replaced.state, replaced.champion) == (DeploymentState.SUPERSEDED, False)
    assert replaced.why == "version 2 is champion"

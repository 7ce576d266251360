"""Another attempt of a version: it happens now or is refused with the reason, and skips no gate."""

from typing import Literal

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.errors import ConflictError
from loopwright_common.events import PromotionRequested
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from tests.deployer.builders import MODEL, MODEL_ID
from tests.deployer.delivery import deliver, emitted
from tests.deployer.lifecycle import advance_once, latest, lead_to

EVE = OperatorRequest("eve", "I know better")
Verb = Literal["abort", "pause", "promote", "reject", "resume", "retry"]


def champion_wanted(version: int) -> PromotionRequested:
    return PromotionRequested(model_id=MODEL_ID, model=MODEL, version=version, by="client")


async def act(database: Database, version: int, verb: Verb) -> None:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await ACTIONS[verb](uow, record, EVE)


async def skip_canary(database: Database, version: int) -> None:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await skip(uow, record, EVE, "canary")


async def work(database: Database, version: int, times: int) -> list[str]:
    """The states that the version comes through by what the worker does."""
    states = []
    for _ in range(times):
        record = await latest(database, version)
        async with database.unit_of_work() as uow:
            await advance_once(uow, record, "passed")
        states.append(str((await latest(database, version)).deployment.state))
    return states


async def test_the_alias_does_not_pass_the_approval(database: Database, bus: EventBus) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    deploy = {"approval": {"roles": ["approver"]}}
    await lead_to(database, 2, DeploymentState.APPROVAL, deploy=deploy)

    await deliver(database, bus, champion_wanted(2))

    assert (await latest(database, 2)).deployment.state is DeploymentState.APPROVAL
    [refused] = await emitted(database, "promotion-refused")
    assert (refused["version"], refused["by"]) == (2, "client")
    assert "waits for approval by approver; approve or reject it" in refused["why"]


async def test_an_older_wish_does_not_outlast_a_later_decision(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await act(database, 2, "abort")
    await lead_to(database, 3, DeploymentState.CANARY)

    await deliver(database, bus, champion_wanted(2))
    await skip_canary(database, 3)
    await work(database, 3, 1)

    [refused] = await emitted(database, "promotion-refused")
    assert refused["why"] == "version 3 is canary; wait for its end or abort it first"
    assert (await latest(database, 2)).deployment.state is DeploymentState.ABORTED
    assert (await latest(database, 3)).deployment.champion


@pytest.mark.parametrize("decision", ["skip", "undo"])
async def test_a_later_decision_ends_what_was_asked_for_before(
    database: Database, decision: str
) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    await lead_to(database, 3, DeploymentState.CANARY)
    await act(database, 3, "abort")
    await lead_to(database, 4, DeploymentState.VALIDATED)
    await act(database, 3, "retry")

    if decision == "skip":
        await skip_canary(database, 4)
    else:
        async with database.unit_of_work() as uow:
            await undo(uow, "production", MODEL, EVE)

    ended = (await latest(database, 3)).deployment
    assert (ended.attempt, ended.state) == (2, DeploymentState.SUPERSEDED)
    assert "I know better" in ended.why
    assert (await latest(database, 4)).deployment.state is DeploymentState.VALIDATED


async def wish(database: Database, bus: EventBus, verb: str, version: int) -> None:
    if verb == "alias":
        await deliver(database, bus, champion_wanted(version))
    elif verb in ("promote", "retry"):
        await act(database, version, "promote" if verb == "promote" else "retry")


async def lead_to_two_ended(database: Database) -> None:
    """Versions 2 and 3 have ended, 4 is champion."""
    await lead_to(database, 1, DeploymentState.PROMOTED)
    for version in (2, 3):
        await lead_to(database, version, DeploymentState.CANARY)
        await act(database, version, "abort")
    await lead_to(database, 4, DeploymentState.PROMOTED)


@pytest.mark.parametrize("verb", ["alias", "promote", "retry"])
async def test_of_two_wishes_the_later_one_holds(
    database: Database, bus: EventBus, verb: str
) -> None:
    await lead_to_two_ended(database)
    await wish(database, bus, verb, 3)

    await wish(database, bus, verb, 2)

    ended = (await latest(database, 3)).deployment
    assert ended.state is DeploymentState.SUPERSEDED
    assert ended.why.startswith("a later decision is for version 2: wanted again by ")
    [*_, finished] = await emitted(database, "deployment-finished")
    told = (finished["version"], finished["outcome"], finished["why"])
    assert told == (3, "superseded", ended.why)
    assert await work(database, 2, 3) == ["staging", "validated", "canary"]


@pytest.mark.parametrize("verb", ["alias", "promote"])
async def test_who_wants_what_serves_takes_back_an_earlier_wish(
    database: Database, bus: EventBus, verb: str
) -> None:
    await lead_to_two_ended(database)
    await act(database, 3, "retry")

    await wish(database, bus, verb, 4)

    assert (await latest(database, 3)).deployment.state is DeploymentState.SUPERSEDED
    assert (await latest(database, 4)).deployment.champion
    assert await emitted(database, "promotion-refused") == []


@pytest.mark.parametrize("verb", ["alias", "promote"])
async def test_who_wants_what_is_on_its_way_takes_back_an_earlier_wish(
    database: Database, bus: EventBus, verb: str
) -> None:
    await lead_to_two_ended(database)
    await lead_to(database, 5, DeploymentState.VALIDATED)
    await act(database, 3, "retry")

    await wish(database, bus, verb, 5)

    ended = (await latest(database, 3)).deployment
    assert ended.state is DeploymentState.SUPERSEDED
    assert ended.why.startswith("a later decision is for version 5: wanted by ")
    with pytest.raises(ConflictError, match="version 5 is on its way already: validated"):
        await act(database, 5, "promote")


async def test_a_wish_ends_older_versions_without_traffic_and_no_newer_one(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    canary = await lead_to(database, 2, DeploymentState.CANARY)
    for version in (3, 4):
        await lead_to(database, version, DeploymentState.VALIDATED)
        await act(database, version, "abort" if version == 3 else "pause")
    async with database.unit_of_work() as uow:
        await advance_once(uow, canary, "inconclusive")

    await act(database, 3, "retry")

    assert (await latest(database, 2)).deployment.state is DeploymentState.SUPERSEDED
    assert (await latest(database, 4)).deployment.state is DeploymentState.PAUSED


async def test_a_wish_does_not_end_what_has_traffic(database: Database, bus: EventBus) -> None:
    await lead_to_two_ended(database)
    await act(database, 3, "retry")
    assert (await work(database, 3, 3))[-1] == "canary"

    await deliver(database, bus, champion_wanted(2))
    await act(database, 3, "pause")
    await deliver(database, bus, champion_wanted(4))

    [refused] = await emitted(database, "promotion-refused")
    assert refused["why"] == "version 3 is canary; wait for its end or abort it first"
    paused = (await latest(database, 3)).deployment
    assert (paused.state, paused.in_canary) == (DeploymentState.PAUSED, True)


async def test_a_version_that_has_ended_goes_all_its_way_again(
    database: Database, bus: EventBus
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await act(database, 2, "abort")

    await deliver(database, bus, champion_wanted(2))

    again = (await latest(database, 2)).deployment
    assert (again.attempt, again.state) == (2, DeploymentState.VALIDATED)
    assert again.why == "wanted again by client: alias champion set to version 2"
    assert await work(database, 2, 4) == ["canary", "canary", "promoting", "promoted"]


async def test_what_was_staged_beside_another_champion_is_staged_again(database: Database) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.PROMOTED)

    await act(database, 2, "promote")

    assert await work(database, 2, 3) == ["staging", "validated", "canary"]


async def test_a_rejected_version_is_packaged_and_judged_again(database: Database) -> None:
    record = await lead_to(database, 1, DeploymentState.STAGING)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "failed")

    await act(database, 1, "retry")

    again = (await latest(database, 1)).deployment
    assert (again.state, again.staged) == (DeploymentState.RECEIVED, False)
    assert await work(database, 1, 3) == ["packaging", "staging", "validated"]


@pytest.mark.parametrize("verb", ["abort", "reject"])
async def test_unclear_staging_that_nobody_accepted_is_not_taken_over(
    database: Database, bus: EventBus, verb: Verb
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.STAGING)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "inconclusive")
    await act(database, 2, verb)

    await deliver(database, bus, champion_wanted(2))

    assert (await latest(database, 2)).deployment.state is DeploymentState.RECEIVED
    assert await work(database, 2, 4) == ["packaging", "staging", "validated", "canary"]


async def test_unclear_staging_that_a_person_accepted_is_not_done_again(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.STAGING)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "inconclusive")
    await act(database, 2, "resume")
    assert await work(database, 2, 1) == ["canary"]
    await act(database, 2, "abort")

    await act(database, 2, "retry")

    assert await work(database, 2, 1) == ["canary"]


async def test_a_skip_before_somebody_decided_otherwise_holds_no_longer(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await lead_to(database, 3, DeploymentState.VALIDATED)
    await skip_canary(database, 3)
    await work(database, 2, 3)
    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, EVE)

    waiting = (await latest(database, 3)).deployment
    no_longer = "its canary is no longer skipped, since a later decision is for version 1: undone"
    assert waiting.why.startswith(no_longer)
    assert await work(database, 3, 1) == ["canary"]


async def test_a_champion_by_an_earlier_attempt_is_not_tried_again(
    database: Database, bus: EventBus
) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    await act(database, 1, "retry")
    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, EVE)

    with pytest.raises(ConflictError, match="version 1 is champion already"):
        await act(database, 1, "retry")
    await deliver(database, bus, champion_wanted(1))

    assert await emitted(database, "promotion-refused") == []
    assert (await latest(database, 1)).deployment.state is DeploymentState.SUPERSEDED


async def test_undo_goes_to_another_version_than_the_champion(database: Database) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    await act(database, 1, "retry")
    states = await work(database, 1, 6)
    assert states[-1] == "promoted"

    with pytest.raises(ConflictError, match="version 1 of bank is no former champion; those are 2"):
        async with database.unit_of_work() as uow:
            await undo(uow, "production", MODEL, EVE, 1)


async def test_what_is_on_its_way_is_not_tried_again(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await act(database, 2, "pause")

    with pytest.raises(ConflictError, match="version 1 is champion already"):
        await act(database, 1, "retry")
    with pytest.raises(ConflictError, match="paused by eve: I know better; resume or abort it"):
        await act(database, 2, "retry")
    await act(database, 2, "promote")

    assert (await latest(database, 2)).deployment.state is DeploymentState.CANARY

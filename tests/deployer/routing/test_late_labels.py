"""Labels of a canary's calls take its promotion back, that one and no other."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.events import CanaryLabelled, LabelledCalls, LabelledStep
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.operator_actions.attempts import retry
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import resume, undo
from loopwright_deployer.routing import late_labels
from loopwright_deployer.routing.routes import RouteRevisions
from tests.deployer.builders import MODEL, MODEL_ID, event_of
from tests.deployer.delivery import deliver, emitted
from tests.deployer.lifecycle import advance_once, check_invariants, latest, lead_to

REQUEST = OperatorRequest("ada", "test")
LABELS = {"labels": {"window": "1d", "margin": 0.05}}
S = DeploymentState


@pytest.fixture
async def promoted(database: Database) -> None:
    """Version 2 is champion after a canary beside version 1."""
    await lead_to(database, 1, S.PROMOTED)
    await lead_to(database, 2, S.PROMOTED, deploy=LABELS)


async def labels_of(database: Database, wrong: float, calls: int = 200) -> CanaryLabelled:
    """So many labelled calls of both versions; the champion before was wrong on a tenth."""
    deployment = (await latest(database, 2)).deployment
    arms = [LabelledCalls(calls=calls, wrong=calls * share) for share in (wrong, 0.1)]
    return CanaryLabelled(
        deployment_id=deployment.id,
        environment="production",
        model_id=MODEL_ID,
        model=MODEL,
        version=2,
        previous=1,
        steps=[LabelledStep(canary=arms[0], champion=arms[1])],
    )


async def states(database: Database, *versions: int) -> Sequence[DeploymentState]:
    return [(await latest(database, version)).deployment.state for version in versions]


async def shares(database: Database) -> dict[int, float]:
    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    return {arm.version: arm.weight for arm in row.route.arms} if row else {}


@pytest.mark.usefixtures("promoted")
async def test_the_promotion_says_which_calls_were_the_canarys_and_until_when_labels_count(
    database: Database,
) -> None:
    deployment = (await latest(database, 2)).deployment
    event = (await emitted(database, "deployment-promoted"))[-1]

    assert deployment.promoted_at is not None
    assert len(event["canary"]) == 2
    assert event["canary"][0]["end"] == event["canary"][1]["begin"]
    until = (deployment.promoted_at + timedelta(days=1)).isoformat()[:19]
    assert event["labels_until"].startswith(until)


async def test_without_labels_in_its_policy_no_version_waits_for_any(database: Database) -> None:
    await lead_to(database, 1, S.PROMOTED)
    await lead_to(database, 2, S.PROMOTED)

    event = (await emitted(database, "deployment-promoted"))[-1]

    assert (event["canary"], event.get("labels_until")) == ([], None)


@pytest.mark.usefixtures("promoted")
async def test_a_version_that_was_wrong_too_often_is_taken_back(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, await labels_of(database, wrong=0.4), times=2)

    assert await states(database, 1, 2) == [S.PROMOTED, S.ROLLED_BACK]
    assert await shares(database) == {1: 1.0}
    [event] = await emitted(database, "deployment-rolled-back")
    assert event["previous"] == 1
    assert event["why"].startswith(
        "labels that came after the promotion: 80 of 200 labelled calls (40.0%) of the canary"
    )
    assert [check["name"] for check in event["checks"]] == ["canary-labels"]
    await check_invariants(database, MODEL_ID)


@pytest.mark.usefixtures("promoted")
async def test_a_version_that_was_wrong_as_often_stays_and_shows_the_figures(
    database: Database, bus: EventBus
) -> None:
    before = await latest(database, 2)
    await deliver(database, bus, await labels_of(database, wrong=0.1))

    record = await latest(database, 2)

    assert await states(database, 1, 2) == [S.SUPERSEDED, S.PROMOTED]
    assert record.deployment.standing == before.deployment.standing
    assert [check.name for check in record.checks] == [
        *(check.name for check in before.checks),
        "canary-labels",
    ]


@pytest.mark.usefixtures("promoted")
async def test_labels_that_come_after_the_window_take_nothing_back(database: Database) -> None:
    promoted_at = (await latest(database, 2)).deployment.promoted_at
    assert promoted_at is not None
    event = event_of(await labels_of(database, wrong=0.4))
    object.__setattr__(event, "time", promoted_at + timedelta(days=1))
    async with database.unit_of_work() as uow:
        await late_labels.judge(uow, event)

    assert await states(database, 1, 2) == [S.SUPERSEDED, S.PROMOTED]


@pytest.mark.usefixtures("promoted")
async def test_a_later_promotion_is_not_taken_back(database: Database, bus: EventBus) -> None:
    labels = await labels_of(database, wrong=0.4)
    await lead_to(database, 3, S.PROMOTED)
    await deliver(database, bus, labels)

    assert await states(database, 1, 2, 3) == [S.SUPERSEDED, S.SUPERSEDED, S.PROMOTED]


@pytest.mark.usefixtures("promoted")
async def test_what_a_person_went_back_to_is_not_taken_back(
    database: Database, bus: EventBus
) -> None:
    labels = await labels_of(database, wrong=0.4)
    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, REQUEST)
    await deliver(database, bus, labels)
    assert await states(database, 1, 2) == [S.PROMOTED, S.ROLLED_BACK]
    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, REQUEST, version=2)
    await deliver(database, bus, labels)

    assert (await latest(database, 2)).deployment.champion


@pytest.mark.usefixtures("promoted")
async def test_a_canary_beside_the_version_ends_with_it(database: Database, bus: EventBus) -> None:
    labels = await labels_of(database, wrong=0.4)
    await lead_to(database, 3, S.CANARY)
    await deliver(database, bus, labels)

    assert await states(database, 1, 2, 3) == [S.PROMOTED, S.ROLLED_BACK, S.ABORTED]
    assert await shares(database) == {1: 1.0}
    assert "labels took back version 2" in (await latest(database, 3)).deployment.why


@pytest.mark.usefixtures("promoted")
async def test_labels_wait_for_the_end_of_a_version_that_is_promoting(database: Database) -> None:
    labels = event_of(await labels_of(database, wrong=0.4))
    await lead_to(database, 3, S.PROMOTING)
    with pytest.raises(UnavailableError, match="version 3 is promoting"):
        async with database.unit_of_work() as uow:
            await late_labels.judge(uow, labels)
    promoting = await latest(database, 3)
    async with database.unit_of_work() as uow:
        await advance_once(uow, promoting, "failed")
    async with database.unit_of_work() as uow:
        await late_labels.judge(uow, labels)

    assert await states(database, 1, 2, 3) == [S.PROMOTED, S.ROLLED_BACK, S.ROLLED_BACK]


async def test_of_a_canary_that_a_person_had_skipped_no_calls_are_judged(
    database: Database,
) -> None:
    await lead_to(database, 1, S.PROMOTED)
    record = await lead_to(database, 2, S.CANARY, deploy=LABELS)
    async with database.unit_of_work() as uow:
        await skip(uow, record, REQUEST, "canary")
    while (await latest(database, 2)).deployment.state is not S.PROMOTED:
        record = await latest(database, 2)
        async with database.unit_of_work() as uow:
            await advance_once(uow, record, "passed")

    event = (await emitted(database, "deployment-promoted"))[-1]

    assert (event["version"], event["canary"], event.get("labels_until")) == (2, [], None)


async def test_calls_of_a_frozen_canary_are_not_judged_with_those_of_the_one_that_passed(
    database: Database,
) -> None:
    await lead_to(database, 1, S.PROMOTED)
    record = await lead_to(database, 2, S.CANARY, deploy={**LABELS, "canary": {"worse": "freeze"}})
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "failed")
    frozen = (await latest(database, 2)).deployment
    assert frozen.state is S.PAUSED
    paused = await latest(database, 2)
    async with database.unit_of_work() as uow:
        await resume(uow, paused, REQUEST)
    while (await latest(database, 2)).deployment.state is not S.PROMOTED:
        record = await latest(database, 2)
        async with database.unit_of_work() as uow:
            await advance_once(uow, record, "passed")

    event = (await emitted(database, "deployment-promoted"))[-1]

    assert len(event["canary"]) == 2
    assert datetime.fromisoformat(event["canary"][0]["begin"]) > frozen.state_since


@pytest.mark.usefixtures("promoted")
async def test_another_attempt_of_what_was_taken_back_begins_without_that_verdict(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, await labels_of(database, wrong=0.4))
    taken_back = await latest(database, 2)
    assert "canary-labels" in [check.name for check in taken_back.checks]
    async with database.unit_of_work() as uow:
        await retry(uow, taken_back, REQUEST)

    again = await latest(database, 2)

    assert again.deployment.attempt == 2
    assert "canary-labels" not in [check.name for check in again.checks]


@pytest.mark.usefixtures("promoted")
async def test_what_was_taken_back_is_kept_loaded_after_what_may_be_gone_back_to(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, await labels_of(database, wrong=0.4))
    await lead_to(database, 3, S.PROMOTED, deploy={"keep": 1})

    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)

    assert row is not None
    assert [arm.version for arm in row.route.kept] == [1]

"""What users of Argo Rollouts, Flagger and KServe reported of theirs, tried on ours.

`docs/guarantees.md` says which report is tried by which test, here and elsewhere.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.cloudevents import codec
from loopwright_common.database.database import Database
from loopwright_common.deploy_policy import DeployPolicy
from loopwright_common.events import PromotionRequested
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts
from loopwright_deployer.canary.decisions import CanaryDecision, CanaryEvidence, decide_canary
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.tables import deployments
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from tests.common import bus_harness
from tests.deployer.builders import MODEL, MODEL_ID, event_of, registered
from tests.deployer.controllers import until, working
from tests.deployer.delivery import deliver
from tests.deployer.lifecycle import advance_once, latest, lead_to
from tests.deployer.replicas import count, loaded, serve, shares

S = DeploymentState
ADA = OperatorRequest("ada", "we know why")
EDGES = (0.01, 0.1)


async def act(database: Database, version: int, verb: str) -> None:
    """As the API does: the model is locked first, and the record is that of then."""
    found = await latest(database, version)
    async with database.unit_of_work() as uow:
        record = await service.lock_deployment(uow, found.deployment.id)
        if verb == "skip":
            await skip(uow, record, ADA, "canary")
        else:
            await ACTIONS[verb](uow, record, ADA)


async def work(database: Database, version: int, verdict: str = "passed") -> None:
    """What the worker does next with it."""
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, verdict)


async def undo_champion(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, ADA)


async def time_is_up(database: Database, version: int) -> None:
    """As a deployer finds it that begins to work then."""
    record = await latest(database, version)
    over = sa.update(deployments).where(deployments.c.id == record.deployment.id)
    async with database.unit_of_work() as uow:
        await uow.connection.execute(over.values(deadline=clock.now() - timedelta(seconds=1)))


async def count_both(database: Database, calls: int, failed: int = 0) -> None:
    """So many calls of the champion, version 1, and of version 2, which failed so often."""
    await count(database, 1, calls=calls, errors=0)
    await count(database, 2, calls=calls, errors=failed)


def in_step(database: Database, version: int, step: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await latest(database, version)).deployment.step == step

    return holds


async def attempts(database: Database, version: int) -> list[DeploymentRecord]:
    async with database.read() as connection:
        records = await Deployments(connection).of_model("production", MODEL_ID)
    return [record for record in records if record.deployment.version == version]


@pytest.fixture
async def canary(database: Database) -> DeploymentRecord:
    """Version 1 is champion and has answered calls, version 2 has the first canary step."""
    await lead_to(database, 1, S.PROMOTED)
    await count(database, 1, calls=500, errors=0)
    return await lead_to(database, 2, S.CANARY)


@pytest.mark.usefixtures("canary")
async def test_a_retry_of_an_aborted_canary_goes_all_its_way_and_ends_by_new_calls(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Argo Rollouts 3120 and 841: the retry of an aborted canary got stuck.

    Here it begins at the first step, without what the aborted one had counted.
    """
    await count_both(database, 50, failed=5)
    await work(database, 2)
    await act(database, 2, "abort")
    await act(database, 2, "retry")
    async with working(database, bus, tmp_path):
        again = await until(database, 2, S.CANARY)
        assert (again.deployment.attempt, again.deployment.step) == (2, 0)
        assert await shares(database) == {1: 0.9, 2: 0.1}
        for step in (0, 1):
            await bus_harness.until(in_step(database, 2, step))
            await count_both(database, 200)
            await serve(database, bus)
        await until(database, 2, S.PROMOTING)
        await serve(database, bus)
        await until(database, 2, S.PROMOTED)


async def test_what_was_aborted_stays_so_whatever_else_happens(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Argo Rollouts 2929: an aborted rollout began again by itself.

    Here neither restarts nor events that come again, newer versions nor an undo begin it anew.
    """
    for version in (1, 2):
        await lead_to(database, version, S.PROMOTED)
    await lead_to(database, 3, S.CANARY)
    wish = PromotionRequested(model_id=MODEL_ID, model=MODEL, version=3, by="client")
    old = [codec.encode(event_of(data)) for data in (wish, registered(3))]
    for _ in range(2):
        await bus.publish(old)
        await deliver(database, bus)
        if (await latest(database, 3)).deployment.state is S.CANARY:
            await act(database, 3, "abort")
    for version in (4, 5):
        await lead_to(database, version, S.VALIDATED)
        async with working(database, bus, tmp_path):
            await until(database, version, S.CANARY)
        await act(database, version, "abort")
    await undo_champion(database)

    [aborted] = await attempts(database, 3)
    assert aborted.deployment.state is S.ABORTED
    assert aborted.deployment.why == "aborted by ada: we know why"
    assert await shares(database) == {1: 1.0}


@pytest.mark.usefixtures("canary")
async def test_a_promotion_that_no_replica_takes_can_be_aborted_and_undone(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Argo Rollouts 4461: with a full promotion asked for, an abort was ignored while the new
    version was not ready. Flagger 1588: what is stuck in promoting could not be taken back.
    """
    await lead_to(database, 3, S.VALIDATED)
    async with working(database, bus, tmp_path):
        await serve(database, bus)
        await act(database, 2, "skip")

        async def waits_for_the_replica() -> bool:
            waits = (await latest(database, 2)).deployment.waits or ""
            return waits.startswith("waits for r1 to serve revision")

        await bus_harness.until(waits_for_the_replica)
        assert await shares(database) == {2: 1.0}
        await act(database, 2, "abort")
        assert await shares(database) == {1: 1.0}
        await until(database, 3, S.CANARY)

    assert (await latest(database, 2)).deployment.state is S.ABORTED


@pytest.mark.usefixtures("canary")
async def test_after_an_inconclusive_pause_a_canary_goes_on_and_ends_by_evidence(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Argo Rollouts 3015 and 261: after an inconclusive analysis a promote got it stuck."""
    await serve(database, bus)
    await time_is_up(database, 2)
    async with working(database, bus, tmp_path):
        paused = await until(database, 2, S.PAUSED)
        assert paused.deployment.why.startswith("inconclusive: ")
        await act(database, 2, "promote")
        await until(database, 2, S.CANARY)
        for step in (0, 1):
            await bus_harness.until(in_step(database, 2, step))
            await count_both(database, 200)
            await serve(database, bus)
        record = await until(database, 2, S.PROMOTING, S.PAUSED, S.ROLLED_BACK)

    assert record.deployment.state is S.PROMOTING


def decided(step: StepCounts) -> CanaryDecision:
    """What a canary in its last step does when its time is up."""
    now = clock.now()
    evidence = CanaryEvidence(
        steps=[step],
        acknowledgement=Acknowledgement(True, "served"),
        deadline=now,
        now=now,
    )
    return decide_canary(DeployPolicy(), 1, evidence)


def calls(number: int, failed: int = 0, slow: int = 0) -> CallCounter:
    return CallCounter(number, failed, EDGES, (number - slow, 0, slow))


def arms(largest: int) -> st.SearchStrategy[CallCounter]:
    few = st.integers(0, 20)
    return st.builds(calls, st.integers(20, largest), few, few)


@given(st.builds(StepCounts, arms(300), arms(300), st.just(calls(500))))
@settings(deadline=None, max_examples=300)
def test_no_canary_is_promoted_by_a_check_that_is_not_passed(step: StepCounts) -> None:
    """Argo Rollouts 3850: a rollout went on although its background analysis was inconclusive."""
    decision = decided(step)

    verdicts = {check.name: check.verdict for check in decision.checks}
    passed = set(verdicts.values()) == {"passed"}
    assert (decision.action == "promote") == passed, verdicts


def test_what_is_not_known_of_one_check_is_not_made_up_by_the_others() -> None:
    """Argo Rollouts 3850: here, how slow the champion is is not known, and all else is fine."""
    known = StepCounts(calls(5_000), calls(5_000), calls(500))
    unknown = StepCounts(calls(5_000), calls(5_000))

    assert decided(known).action == "promote"
    assert decided(unknown).action == "begin-anew"
    assert decided(StepCounts(calls(5_000), calls(10))).action == "pause"


@pytest.mark.usefixtures("canary")
async def test_calls_that_stop_coming_advance_nothing_by_what_they_said_before(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Flagger 1011: once the traffic stopped, a canary was advanced by its last figures."""
    async with working(database, bus, tmp_path):
        await count_both(database, 5_000)
        await serve(database, bus)
        await bus_harness.until(in_step(database, 2, 1))
    await serve(database, bus)
    await time_is_up(database, 2)
    async with working(database, bus, tmp_path):
        record = await until(database, 2, S.PAUSED, S.PROMOTING)

    assert record.deployment.why == (
        "inconclusive: no request has come to the new version at 50% of the traffic; only calls"
        " tell, so resume it while callers ask the model; the champion serves all until a person"
        " decides"
    )


def test_a_policy_without_steps_is_refused_with_its_key() -> None:
    """Argo Rollouts 1466: with empty steps the controller's index was out of range."""
    with pytest.raises(PolicyError, match=r"canary\.steps: "):
        read_policy(DeployPolicy, {"canary": {"steps": []}})


def one_step(weight: float = 0.3) -> dict[str, Any]:
    return {"canary": {"steps": [{"weight": weight}]}}


async def test_fewer_steps_in_a_newer_version_change_nothing_of_one_on_its_way(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Argo Rollouts 1466: with fewer steps than before the controller's index was out of range.

    Here each version has the steps of its own commit, also when it is tried again.
    """
    three = {"canary": {"steps": [{"weight": weight} for weight in (0.1, 0.2, 0.4)]}}
    await lead_to(database, 1, S.PROMOTED)
    await count(database, 1, calls=500, errors=0)
    await lead_to(database, 2, S.CANARY, deploy=three)
    await work(database, 2)
    await lead_to(database, 3, S.VALIDATED, deploy=one_step())
    await work(database, 2)
    assert await shares(database) == {1: 0.6, 2: 0.4}
    async with working(database, bus, tmp_path):
        await act(database, 2, "abort")
        await until(database, 3, S.CANARY)
        assert await shares(database) == {1: 0.7, 3: 0.3}
        await act(database, 3, "abort")
        await act(database, 2, "retry")
        again = await until(database, 2, S.CANARY)

    assert again.deployment.step == 0
    assert await shares(database) == {1: 0.9, 2: 0.1}


@pytest.mark.usefixtures("canary")
async def test_after_promoting_began_figures_take_nothing_back_and_a_person_does_at_once(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """Flagger 616: what happens to the rollback once the promotion is under way, or done."""
    await lead_to(database, 3, S.VALIDATED)
    async with working(database, bus, tmp_path):
        await act(database, 2, "skip")
        await count(database, 2, calls=1_000, errors=900)
        await serve(database, bus)
        await until(database, 2, S.PROMOTED, S.ROLLED_BACK)
        await count(database, 2, calls=2_000, errors=1_900)
        await until(database, 3, S.STAGING, S.REJECTED)

    assert (await latest(database, 2)).deployment.champion
    await undo_champion(database)
    assert await shares(database) == {1: 1.0}
    assert (await latest(database, 2)).deployment.state is S.ROLLED_BACK


async def test_many_canaries_leave_no_arms_behind(database: Database) -> None:
    """KServe 2130 and 2097: routes of former canaries were left over, rollout after rollout."""
    await lead_to(database, 1, S.PROMOTED, deploy={"keep": 2})
    champions = [1]
    ends: list[Callable[[int], Awaitable[None]]] = [
        partial(act, database, verb="abort"),
        partial(work, database, verdict="failed"),
        partial(work, database, verdict="inconclusive"),
    ]
    for version in range(2, 30):
        freezes = {"canary": {"steps": [{"weight": 0.5}], "worse": "freeze"}, "keep": 2}
        await lead_to(database, version, S.CANARY, deploy=freezes)
        assert set(await shares(database)) == {champions[-1], version}
        if version % 4 == 3:
            await work(database, version)
            await work(database, version)
            champions.append(version)
        else:
            await ends[version % 4 if version % 4 < 3 else 0](version)
        if version % 12 == 0:
            await undo_champion(database)
            champions = [*champions[-1:], *champions[:-1]]
        frozen = (await latest(database, version)).deployment.state is S.PAUSED
        assert await shares(database) == {champions[-1]: 1.0}
        kept = await loaded(database)
        assert len(kept - {version}) <= 2, "more former champions than `keep` are loaded"
        assert version not in kept or frozen
        assert kept - {version} <= set(champions)

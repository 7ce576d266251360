"""A version that is found worse, by a policy with `worse: freeze`: it waits without traffic."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_deployer.canary.frozen import is_frozen
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing.routes import RouteRevisions
from loopwright_deployer.routing.withdrawals import FROZEN
from tests.common import bus_harness
from tests.deployer.builders import registered
from tests.deployer.controllers import until, working
from tests.deployer.delivery import deliver, emitted
from tests.deployer.lifecycle import latest, lead_to
from tests.deployer.replicas import count, loaded, serve, shares

S = DeploymentState
CANARY = {"steps": [{"weight": 0.5}], "worse": "freeze"}
ADA = OperatorRequest("ada", "the index was down")


async def act(database: Database, version: int, verb: str) -> None:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await ACTIONS[verb](uow, record, ADA)


async def begin(database: Database, **canary: object) -> None:
    """Version 1 is champion and has answered calls, version 2 is a canary that may be frozen."""
    await lead_to(database, 1, S.PROMOTED)
    await count(database, 1, calls=500, errors=0)
    await lead_to(database, 2, S.CANARY, deploy={"canary": {**CANARY, **canary}})


async def fail(database: Database) -> None:
    await count(database, 1, calls=900, errors=9)
    await count(database, 2, calls=100, errors=60)


@pytest.fixture
async def frozen(database: Database, bus: EventBus, tmp_path: Path) -> DeploymentRecord:
    await begin(database)
    await fail(database)
    async with working(database, bus, tmp_path):
        return await until(database, 2, S.PAUSED, S.ROLLED_BACK)


async def test_what_is_worse_gets_no_traffic_and_waits_with_its_figures(
    database: Database, api: httpx.AsyncClient, frozen: DeploymentRecord
) -> None:
    deployment = frozen.deployment
    path = f"/v1/deployments/{deployment.id}"
    shown = (await api.get(path)).json()
    judged = (await api.post(f"{path}/judge", json={})).json()["items"]
    other = {"canary": {**CANARY, "worse": "roll-back"}}
    otherwise = (await api.post(f"{path}/judge", json={"policy": other})).json()["items"]

    assert (await shares(database), await loaded(database)) == ({1: 1.0}, {2})
    assert deployment.why.startswith("60 of 100 calls (60.0%) failed on the new version")
    assert deployment.why.endswith(FROZEN)
    assert not deployment.has_work(clock.now() + timedelta(days=365)), "it goes on by itself"
    [failed] = [check for check in shown["checks"] if check["verdict"] == "failed"]
    assert (failed["name"], failed["comparison"]["canary"]["calls"]) == ("canary-errors", 100)
    assert all(look["same"] for look in judged)
    assert (judged[-1]["action"], otherwise[-1]["action"]) == ("freeze", "roll-back")
    told = (await emitted(database, "deployment-changed"))[-1]
    assert (told["state"], told["weight"]) == ("paused", 0)
    assert told["decisions"] == ["resume", "skip", "abort"]
    assert not await emitted(database, "deployment-rolled-back")


@pytest.mark.usefixtures("frozen")
async def test_a_resumed_one_begins_anew_and_what_was_counted_counts_no_longer(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    """With the old calls among them, a hundred good ones would not even keep it from failing."""
    await act(database, 2, "resume")
    async with working(database, bus, tmp_path):
        again = await until(database, 2, S.CANARY, S.PAUSED)
        assert await shares(database) == {1: 0.5, 2: 0.5}
        await count(database, 1, calls=100, errors=0)
        await count(database, 2, calls=100, errors=0)
        await serve(database, bus)
        record = await until(database, 2, S.PROMOTING, S.PAUSED, S.ROLLED_BACK)

    async with database.read() as connection:
        story = await Deployments(connection).history(record.deployment.id)
        [steps] = (await RouteRevisions(connection).revisions_of([record.deployment.id])).values()
    assert record.deployment.state is S.PROMOTING, record.deployment.why
    assert len(steps) == 1, "a step of the first canary is evidence still"
    assert again.deployment.step == 0
    told = [(entry.state, entry.why, entry.by) for entry in story]
    assert told[-4][0] is S.PAUSED
    assert "60 of 100 calls" in told[-4][1]
    assert told[-3] == (
        S.VALIDATED,
        "resumed by ada: the index was down; what was counted counts no longer",
        "ada",
    )


@pytest.mark.usefixtures("frozen")
async def test_a_resumed_one_that_is_worse_again_is_frozen_again(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await act(database, 2, "promote")
    async with working(database, bus, tmp_path):
        await until(database, 2, S.CANARY)
        await fail(database)
        record = await until(database, 2, S.PAUSED, S.ROLLED_BACK)

    assert is_frozen(record)


@pytest.mark.usefixtures("frozen")
async def test_a_person_may_skip_its_canary(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    record = await latest(database, 2)
    async with database.unit_of_work() as uow:
        await skip(uow, record, ADA, "canary")
    async with working(database, bus, tmp_path):
        promoting = await until(database, 2, S.PROMOTING)

    assert promoting.deployment.why == "canary skipped by ada: the index was down"
    assert await shares(database) == {2: 1.0}


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("verb", "state"), [("abort", S.ABORTED), ("reject", S.REJECTED)])
async def test_who_ends_it_has_it_unloaded(
    database: Database, verb: str, state: DeploymentState
) -> None:
    await act(database, 2, verb)

    assert (await latest(database, 2)).deployment.state is state
    assert (await shares(database), await loaded(database)) == ({1: 1.0}, set())


@pytest.mark.usefixtures("frozen")
async def test_a_newer_version_takes_the_place_of_a_frozen_one(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, registered(3))

    assert (await latest(database, 2)).deployment.state is S.SUPERSEDED
    assert (await shares(database), await loaded(database)) == ({1: 1.0}, set())


async def test_harm_is_rolled_back_whatever_the_policy_says(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await begin(database)
    async with working(database, bus, tmp_path):
        await serve(database, bus, tripped={"2": "it did not return within 2.0 s"})
        record = await until(database, 2, S.ROLLED_BACK, S.PAUSED)

    assert record.deployment.state is S.ROLLED_BACK
    assert await loaded(database) == set()


async def test_one_that_kept_its_share_in_a_pause_loses_it_when_it_is_worse(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await begin(database, then="stay", max_time="0.2s")
    await serve(database, bus)

    async def freezes() -> bool:
        return is_frozen(await latest(database, 2))

    async with working(database, bus, tmp_path):
        await until(database, 2, S.PAUSED)
        assert await shares(database) == {1: 0.5, 2: 0.5}
        await fail(database)
        await bus_harness.until(freezes)

    assert (await shares(database), await loaded(database)) == ({1: 1.0}, {2})

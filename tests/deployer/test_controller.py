"""The worker over a real database and bus: canaries, replicas, deadlines, restarts."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.events import ServedRoute
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer import controller
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.ownership import owned
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing import canary_observer
from loopwright_deployer.routing.evidence import collect_evidence, situations
from loopwright_deployer.routing.routes import RouteRevisions
from tests.common import bus_harness
from tests.deployer.builders import MODEL_ID, publish, registered, replica
from tests.deployer.controllers import until, working
from tests.deployer.lifecycle import CAUSE, latest, lead_to
from tests.deployer.replicas import count, serve

IMPATIENT = {"canary": {"max_time": "0.2s"}}
PATIENT = {"canary": {"error_ratio": 100.0}}
"""Of a limit above what any canary has."""


async def fail(database: Database) -> None:
    """Most calls of version 2 fail, few of the champion's."""
    await count(database, 1, calls=900, errors=9)
    await count(database, 2, calls=100, errors=60)


@pytest.fixture
async def canary(database: Database) -> DeploymentRecord:
    """Version 1 is champion and has answered calls, version 2 has the first canary step."""
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await count(database, 1, calls=500, errors=0)
    return await lead_to(database, 2, DeploymentState.CANARY)


async def test_a_canary_with_many_errors_is_rolled_back_with_the_figures(
    database: Database, bus: EventBus, canary: DeploymentRecord, tmp_path: Path
) -> None:
    await count(database, 1, calls=900, errors=9)
    await count(database, 2, calls=100, errors=40)
    async with working(database, bus, tmp_path):
        record = await until(database, 2, DeploymentState.ROLLED_BACK, DeploymentState.PROMOTING)

    assert "40 of 100 calls (40.0%) failed on the new version" in record.deployment.why
    assert record.deployment.state is DeploymentState.ROLLED_BACK


async def test_a_canary_shows_what_it_counts_while_it_waits(
    database: Database,
    bus: EventBus,
    api: httpx.AsyncClient,
    canary: DeploymentRecord,
    tmp_path: Path,
) -> None:
    """And keeps it: its evidence is decided the same again, and otherwise by another policy."""
    path = f"/v1/deployments/{canary.deployment.id}"

    async def shows(canary: int, champion: int) -> bool:
        checks = (await api.get(path)).json()["checks"]
        found = [check["comparison"] for check in checks if check["name"] == "canary-errors"]
        return [(c["canary"]["calls"], c["champion"]["calls"]) for c in found] == [
            (canary, champion)
        ]

    async with working(database, bus, tmp_path):
        await serve(database, bus)
        for calls in (5, 9):
            await count(database, 1, calls=calls * 9, errors=1)
            await count(database, 2, calls=calls, errors=0)
            await bus_harness.until(partial(shows, calls, calls * 9))
        await count(database, 2, calls=100, errors=60)
        record = await until(database, 2, DeploymentState.ROLLED_BACK)

    looks = (await api.get(f"{path}/evidence", params={"limit": 500})).json()["items"]
    first = (await api.get(f"{path}/evidence", params={"limit": 1})).json()
    rest = (await api.get(f"{path}/evidence", params={"after": first["next"]})).json()
    again = (await api.post(f"{path}/judge", json={})).json()["items"]
    patient = (await api.post(f"{path}/judge", json={"policy": PATIENT})).json()["items"]
    assert (looks[-1]["action"], looks[-1]["why"]) == ("roll-back", record.deployment.why)
    assert first["items"] + rest["items"] == looks
    assert [look["number"] for look in looks] == [*range(len(looks))]
    assert [look["evidence"]["steps"][0]["canary"]["calls"] for look in looks][-3:] == [5, 9, 100]
    assert all(each["same"] for each in again)
    assert [each["action"] for each in again] == [look["action"] for look in looks]
    assert [(each["action"], each["live_action"]) for each in patient][-1] == ("wait", "roll-back")


async def test_a_canary_that_waits_is_looked_at_when_there_is_news_and_not_before(
    database: Database,
    bus: EventBus,
    canary: DeploymentRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of news that another deployer has written, which nobody wakes this one for."""
    looks = polls = 0

    async def collect(*given: Any) -> Any:
        nonlocal looks, polls
        looks, polls = looks + 1, 0
        return await collect_evidence(*given)

    async def poll(*given: Any) -> Any:
        nonlocal polls
        polls += 1
        return await situations(*given)

    async def rests() -> bool:
        return looks > 0 and polls >= 4

    monkeypatch.setattr(canary_observer, "collect_evidence", collect)
    monkeypatch.setattr(controller, "situations", poll)
    async with working(database, bus, tmp_path):
        await bus_harness.until(rests)
        before = looks
        await count(database, 2, calls=5, errors=0)

        async def looked() -> bool:
            return looks > before

        await bus_harness.until(looked)
        await bus_harness.until(rests)
        await fail(database)
        await until(database, 2, DeploymentState.ROLLED_BACK)


async def test_counters_that_came_here_need_no_poll(
    database: Database,
    bus: EventBus,
    canary: DeploymentRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "_POLL_SECONDS", 3600.0)

    async def waits() -> bool:
        return (await latest(database, 2)).deployment.waits is not None

    async with working(database, bus, tmp_path) as worker:
        await bus_harness.until(waits)
        await fail(database)
        worker.count(canary.deployment.model_key)
        await until(database, 2, DeploymentState.ROLLED_BACK)


async def test_a_version_that_waits_for_its_turn_is_in_nobodys_hands(
    database: Database, bus: EventBus, canary: DeploymentRecord, tmp_path: Path
) -> None:
    third = await lead_to(database, 3, DeploymentState.VALIDATED)
    ids = [canary.deployment.id, third.deployment.id]

    async def only_the_canary_has_a_lease() -> bool:
        waits = (await latest(database, 3)).deployment.waits
        async with database.read() as connection:
            return bool(waits) and await owned(connection, ids) == {canary.deployment.id}

    async with working(database, bus, tmp_path):
        await bus_harness.until(only_the_canary_has_a_lease)
        await fail(database)
        await until(database, 3, DeploymentState.CANARY)


async def test_a_canary_is_not_judged_by_a_policy_that_cannot_be_read(
    api: httpx.AsyncClient, canary: DeploymentRecord
) -> None:
    policy = {"canary": {"margin": 0}}

    answer = await api.post(
        f"/v1/deployments/{canary.deployment.id}/judge", json={"policy": policy}
    )

    assert answer.status_code == 422
    assert answer.json()["detail"] == "canary.margin: has to be more than 0.0"


async def test_a_replica_that_trips_rolls_back_at_once(
    database: Database, bus: EventBus, canary: DeploymentRecord, tmp_path: Path
) -> None:
    async with working(database, bus, tmp_path):
        await serve(database, bus, tripped={"2": "five server errors in a row"})
        record = await until(database, 2, DeploymentState.ROLLED_BACK)

    assert "five server errors in a row" in record.deployment.why


async def test_a_canary_moves_on_only_when_replicas_have_acknowledged(
    database: Database, bus: EventBus, canary: DeploymentRecord, tmp_path: Path
) -> None:
    await count(database, 2, calls=1000, errors=0)
    async with working(database, bus, tmp_path):
        await asyncio.sleep(0.3)
        assert (await latest(database, 2)).deployment.step == 0
        await serve(database, bus)

        async def moved_on() -> bool:
            return (await latest(database, 2)).deployment.step == 1

        await bus_harness.until(moved_on)


async def test_no_traffic_is_no_verdict_and_pauses_for_a_person(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY, deploy=IMPATIENT)
    await serve(database, bus)
    async with working(database, bus, tmp_path):
        record = await until(database, 2, DeploymentState.PAUSED)

    assert record.deployment.why == (
        "inconclusive: no request has come to the new version at 10% of the traffic; "
        "only calls tell, so resume it while callers ask the model; "
        "the champion serves all until a person decides"
    )


async def test_a_paused_canary_is_still_rolled_back_when_it_fails(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    stays = {"canary": {**IMPATIENT["canary"], "then": "stay"}}
    await lead_to(database, 2, DeploymentState.CANARY, deploy=stays)
    await serve(database, bus)
    async with working(database, bus, tmp_path):
        await until(database, 2, DeploymentState.PAUSED)
        await serve(database, bus, tripped={"2": "five server errors in a row"})
        record = await until(database, 2, DeploymentState.ROLLED_BACK)

    assert "five server errors in a row" in record.deployment.why


async def test_promotion_waits_for_a_live_replica_and_says_so(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTING)
    silent = replica(
        ServedRoute(model_id=MODEL_ID, revision=9), at=clock.now() - timedelta(seconds=20)
    )
    await publish(bus, silent, "r1")
    async with working(database, bus, tmp_path):

        async def says_so() -> bool:
            waits = (await latest(database, 1)).deployment.waits
            return waits == "no live scorer replica; waits for one"

        await bus_harness.until(says_so)
        await serve(database, bus)
        await until(database, 1, DeploymentState.PROMOTED)


async def test_a_version_that_no_replica_can_load_is_rolled_back(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTING)
    async with working(database, bus, tmp_path):
        await serve(database, bus, problems={"1": "digest does not match"})
        record = await until(database, 1, DeploymentState.ROLLED_BACK)

    assert record.deployment.why == "replica r1 cannot serve it: digest does not match"
    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    assert row is not None
    assert row.route.arms == ()


async def test_a_version_that_did_harm_is_not_promoted(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTING)
    async with working(database, bus, tmp_path):
        await serve(database, bus, tripped={"1": "it did not return within 2.0 s"})
        record = await until(database, 1, DeploymentState.ROLLED_BACK)

    assert record.deployment.why == "it did not return within 2.0 s"


async def test_a_version_that_waits_for_its_store_is_waited_for(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTING)
    async with working(database, bus, tmp_path):
        await serve(database, bus, waiting={"1": "the store is away"})

        async def says_so() -> bool:
            waits = (await latest(database, 1)).deployment.waits or ""
            return waits.startswith("waits for r1") and waits.endswith("the store is away")

        await bus_harness.until(says_so)
        await serve(database, bus)
        await until(database, 1, DeploymentState.PROMOTED)


async def test_a_damaged_package_is_rejected_with_the_reason(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    blob = await FilesystemStore(tmp_path / "artifacts").put(b'{"files": []}')
    stored = next((tmp_path / "artifacts" / "sha256").rglob(blob.digest[7:]))
    stored.write_bytes(b"damaged")
    await lead_to(database, 1, DeploymentState.RECEIVED, digest=blob.digest)
    async with working(database, bus, tmp_path):
        record = await until(database, 1, DeploymentState.REJECTED)

    assert "is damaged" in record.deployment.why


async def test_a_step_that_fails_says_why_and_is_tried_again(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.RECEIVED, digest="sha256:" + "a" * 64)
    async with working(database, bus, tmp_path):
        record = await until(database, 1, DeploymentState.PACKAGING)
        for _ in range(4800):
            if record.deployment.waits:
                break
            await asyncio.sleep(0.05)
            record = await latest(database, 1)

    assert "no artifact" in str(record.deployment.waits)


async def test_versions_whose_policies_cannot_be_read_are_rejected_and_hinder_nobody(
    database: Database, bus: EventBus, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    for number in range(100):
        await receive_unreadable(database, f"m{number}")
    await lead_to(database, 1, DeploymentState.RECEIVED)
    async with working(database, bus, tmp_path):
        await until(database, 1, DeploymentState.PACKAGING, DeploymentState.REJECTED)

        async def all_rejected() -> bool:
            async with database.read() as connection:
                left = await Deployments(connection).in_flight()
            return not [one for one in left if one.model_id != MODEL_ID]

        await bus_harness.until(all_rejected)
    shown = (await api.get("/v1/deployments", params={"model": "m7"})).json()["items"][0]

    assert (shown["state"], shown["why"]) == (
        "rejected",
        "its policy cannot be read: keep: has to be at least 1",
    )
    for path in ("", "/plan"):
        assert (await api.get(f"/v1/deployments/{shown['id']}{path}")).is_success


async def receive_unreadable(database: Database, name: str) -> None:
    """As one who could reach the bus beside the registry would have it."""
    version = registered(1, model_id=name, model=name, deploy={"keep": 0})
    async with database.unit_of_work() as uow:
        await service.start_deployment(uow, version, "production", CAUSE)

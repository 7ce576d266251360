"""What people can ask and do over HTTP."""

import httpx
import pytest

from loopwright_common.database.database import Database
from loopwright_common.observability.metrics import Metrics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.web.app import add_routes, create_app
from loopwright_deployer.api import create_report_router, create_router
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import SKIPPABLE
from tests.deployer.builders import MODEL
from tests.deployer.lifecycle import advance_once, latest, lead_to

REQUEST = {"by": "ada", "reason": "looks fine"}


async def act(api: httpx.AsyncClient, database: Database, version: int, action: str) -> httpx.Response:  # fmt: skip  # noqa: E501
    record = await latest(database, version)
    return await api.post(f"/v1/deployments/{record.deployment.id}/{action}", json=REQUEST)


async def test_a_deployment_tells_its_story(api: httpx.AsyncClient, database: Database) -> None:
    record = await lead_to(database, 1, DeploymentState.PROMOTED)

    shown = (await api.get(f"/v1/deployments/{record.deployment.id}")).json()

    assert [step["state"] for step in shown["steps"]] == [
        "received", "packaging", "staging", "validated", "promoting", "promoted",
    ]  # fmt: skip
    assert shown["why"] == "the first version goes live after staging"
    assert shown["route"]["arms"][0] == {
        "version": 1, "weight": 1.0, "role": "live",
        "digest": "sha256:" + "1" * 64, "format": "onnx",
    }  # fmt: skip


async def test_pages_follow_each_other(api: httpx.AsyncClient, database: Database) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.RECEIVED)

    first = (await api.get("/v1/deployments", params={"limit": 2})).json()
    rest = (await api.get("/v1/deployments", params={"limit": 2, "after": first["next"]})).json()

    assert [d["version"] for d in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next"] is None


async def test_approval_is_asked_given_and_kept(api: httpx.AsyncClient, database: Database) -> None:
    await lead_to(
        database, 1, DeploymentState.APPROVAL, deploy={"approval": {"roles": ["approver"]}}
    )

    answer = await act(api, database, 1, "approve")

    assert answer.json()["state"] == "validated"
    assert answer.json()["steps"][-1]["why"] == "approved by ada: looks fine"
    assert answer.json()["steps"][-1]["by"] == "ada"


async def skip(
    api: httpx.AsyncClient, database: Database, version: int, gate: str
) -> httpx.Response:
    record = await latest(database, version)
    wanted = {**REQUEST, "gate": gate}
    return await api.post(f"/v1/deployments/{record.deployment.id}/skip", json=wanted)


async def test_a_person_skips_the_rest_of_a_paused_canary(
    api: httpx.AsyncClient, database: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)

    paused = await act(api, database, 2, "pause")
    skipped = await skip(api, database, 2, "canary")

    assert (paused.json()["state"], skipped.json()["state"]) == ("paused", "promoting")
    assert (paused.json()["weight"], skipped.json()["weight"]) == (0.1, 1.0)
    assert [a["version"] for a in skipped.json()["route"]["arms"]] == [2]
    assert [a["version"] for a in skipped.json()["route"]["kept"]] == [1]
    assert skipped.json()["gates"] == {"canary": "canary skipped by ada: looks fine"}


@pytest.mark.parametrize("choice", [0, 1, 2])
async def test_what_a_paused_canary_offers_is_possible_as_it_is_told(
    api: httpx.AsyncClient, database: Database, choice: int
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "inconclusive")
    path = f"/v1/deployments/{record.deployment.id}"

    may = (await api.get(path)).json()["may"]
    gate = {"gate": may[choice]["gate"]} if may[choice]["gate"] else {}
    answer = await api.post(f"{path}/{may[choice]['verb']}", json={**REQUEST, **gate})

    assert [(each["verb"], each["gate"], each["effect"]) for each in may] == [
        ("resume", None, "the canary begins at its first step"),
        ("skip", "canary", "it gets all traffic, without the canary's evidence"),
        ("abort", None, "it ends, and version 1 serves all"),
    ]
    assert answer.is_success
    assert answer.json()["may"] == []


async def test_a_skip_that_the_platform_forbids_is_not_offered(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, "inconclusive")
    app = create_app("deployer", Metrics(), {})
    add_routes(app, create_router(database, "production", lambda _model: None, skippable=()))
    transport = httpx.ASGITransport(app=app)

    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as strict:
        shown = (await strict.get(f"/v1/deployments/{record.deployment.id}")).json()

    assert [each["verb"] for each in shown["may"]] == ["resume", "abort"]


async def test_a_step_is_skipped_alone(api: httpx.AsyncClient, database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)

    second = (await skip(api, database, 2, "step")).json()
    last = (await skip(api, database, 2, "step")).json()

    assert (second["state"], second["weight"]) == ("canary", 0.5)
    assert second["why"] == "step skipped by ada: looks fine; now 50%"
    assert last["state"] == "promoting"


async def test_an_approval_is_skipped_where_the_platform_permits_it(
    api: httpx.AsyncClient, database: Database
) -> None:
    deploy = {"approval": {"roles": ["approver"]}}
    record = await lead_to(database, 1, DeploymentState.APPROVAL, deploy=deploy)
    app = create_app("deployer", Metrics(), {})
    every = create_router(database, "production", lambda _model: None, skippable=SKIPPABLE)
    add_routes(app, every)
    transport = httpx.ASGITransport(app=app)

    refused = await skip(api, database, 1, "approval")
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as other:
        permitted = await skip(other, database, 1, "approval")
        again = await skip(other, database, 1, "approval")

    assert refused.status_code == 403
    assert "LOOPWRIGHT_DEPLOYER_SKIPPABLE_GATES" in refused.json()["detail"]
    assert permitted.json()["state"] == "validated"
    assert "approval skipped by ada" in permitted.json()["gates"]["approval"]
    assert again.status_code == 409
    assert (await latest(database, 1)).deployment.id == record.deployment.id


async def test_promote_skips_no_gate(api: httpx.AsyncClient, database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    deploy = {"approval": {"roles": ["approver"]}}
    await lead_to(database, 2, DeploymentState.APPROVAL, deploy=deploy)

    refused = await act(api, database, 2, "promote")
    approved = await act(api, database, 2, "approve")

    assert refused.status_code == 409
    assert "waits for approval by approver; approve or reject it" in refused.json()["detail"]
    assert approved.json()["gates"] == {"approval": "approved by ada: looks fine"}


async def test_an_aborted_canary_leaves_the_route(
    api: httpx.AsyncClient, database: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)

    aborted = await act(api, database, 2, "abort")

    assert aborted.json()["state"] == "aborted"
    assert [(a["version"], a["weight"]) for a in aborted.json()["route"]["arms"]] == [(1, 1.0)]


async def test_an_impossible_wish_says_what_is_possible(
    api: httpx.AsyncClient, database: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PACKAGING)

    answer = await act(api, database, 1, "promote")
    resume = await act(api, database, 1, "resume")
    undo = await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)

    assert answer.status_code == resume.status_code == undo.status_code == 409
    assert answer.json()["detail"] == "bank version 1 is on its way already: packaging, go"
    assert "resume needs one of: paused" in resume.json()["detail"]
    assert undo.json()["detail"] == "bank has no former champion to go back to"


@pytest.mark.parametrize("verb", ["retry", "promote"])
async def test_who_tries_a_version_again_is_answered_with_the_new_attempt(
    api: httpx.AsyncClient, database: Database, verb: str
) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    ended = await latest(database, 1)

    again = (await act(api, database, 1, verb)).json()

    assert (ended.deployment.state, again["state"]) == (DeploymentState.SUPERSEDED, "validated")
    assert again["id"] == str((await latest(database, 1)).deployment.id) != ended.deployment.id
    assert again["why"].startswith("wanted again by ")


async def test_undo_twice_goes_back_twice(api: httpx.AsyncClient, database: Database) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.PROMOTED)

    for wanted in (2, 1):
        undone = (await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)).json()
        assert [arm["version"] for arm in undone["route"]["arms"]] == [wanted]
    thrice = await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)
    assert thrice.status_code == 409
    assert thrice.json()["detail"] == (
        "bank has no former champion to go back to; what was undone comes back by its version: 2, 3"
    )


async def test_undo_goes_to_any_former_champion_and_is_itself_undone(
    api: httpx.AsyncClient, database: Database
) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.PROMOTED)
    path = f"/v1/models/{MODEL}/undo"

    served, states = [], []
    for wanted in (1, 3, 2):
        answer = (await api.post(path, json={**REQUEST, "version": wanted})).json()
        served += [arm["version"] for arm in answer["route"]["arms"]]
        found = [(await latest(database, v)).deployment.state.value for v in (1, 2, 3)]
        states.append(found)
    never = await api.post(path, json={**REQUEST, "version": 9})

    assert served == [1, 3, 2]
    assert states == [
        ["promoted", "superseded", "rolled-back"],
        ["superseded", "superseded", "promoted"],
        ["superseded", "promoted", "rolled-back"],
    ]
    assert never.status_code == 409
    assert never.json()["detail"] == "version 9 of bank is no former champion; those are 1, 3"


async def test_the_plan_names_what_is_done_and_what_comes(
    api: httpx.AsyncClient, database: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.STAGING)

    plan = (await api.get(f"/v1/deployments/{record.deployment.id}/plan")).json()["steps"]

    assert {s["state"]: s["done"] for s in plan}["canary"] is False
    assert "beside version 1: 10%, 50% of the traffic" in str(plan)


async def test_unknown_things_are_404_and_bad_bodies_422(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/deployments/nothing")).status_code == 404
    assert (await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)).status_code == 404
    assert (await api.post("/v1/deployments/x/abort", json={"reason": "r"})).status_code == 422


async def test_a_report_is_there_once_a_version_has_been_staged(
    database: Database, store: FilesystemStore
) -> None:
    staged = await lead_to(database, 1, DeploymentState.PACKAGING)
    app = create_app("deployer", Metrics(), {})
    add_routes(app, create_report_router(database, store))
    path = f"/v1/deployments/{staged.deployment.id}/report"
    api = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")

    early = await api.get(path)

    assert early.status_code == 404
    assert "it is made once the version has been staged" in early.json()["detail"]

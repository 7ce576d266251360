"""What people can ask and do over HTTP."""

import httpx

from loopwright_common.database.database import Database
from loopwright_deployer.deployments.domain import DeploymentState
from tests.deployer.builders import MODEL
from tests.deployer.lifecycle import latest, lead_to

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


async def test_a_paused_canary_can_be_promoted_by_a_person(
    api: httpx.AsyncClient, database: Database
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)

    paused = await act(api, database, 2, "pause")
    promoted = await act(api, database, 2, "promote")

    assert (paused.json()["state"], promoted.json()["state"]) == ("paused", "promoting")
    assert [a["version"] for a in promoted.json()["route"]["arms"]] == [2]
    assert [a["version"] for a in promoted.json()["route"]["kept"]] == [1]


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
    undo = await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)

    assert answer.status_code == undo.status_code == 409
    assert "promote needs one of: approval, canary, paused, validated" in answer.json()["detail"]
    assert undo.json()["detail"] == "bank has no former champion to go back to"


async def test_undo_twice_goes_back_twice(api: httpx.AsyncClient, database: Database) -> None:
    for version in (1, 2, 3):
        await lead_to(database, version, DeploymentState.PROMOTED)

    for wanted in (2, 1):
        undone = (await api.post(f"/v1/models/{MODEL}/undo", json=REQUEST)).json()
        assert [arm["version"] for arm in undone["route"]["arms"]] == [wanted]


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

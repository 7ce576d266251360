"""The archive keeps every lifecycle event, and tells why a version is where it is."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from loopwright_common.bus.sqlite.log import SqliteBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.database.database import Database
from loopwright_common.events import (
    CodeChanged,
    DeploymentPromoted,
    DriftDetected,
    DriftingFeature,
    Event,
    EventData,
    RetrainRequested,
    RoutesChanged,
    Since,
    TrainingFinished,
)
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import Feed
from loopwright_registry.archive.handlers import handlers
from tests.registry.builders import (
    CAUSE_HEADER,
    World,
    happened,
    packaged_run,
    register,
)

COMMIT = CodeChanged(
    repository="bank", ref="refs/heads/main", commit="9f2c1a0aa", author="a@x", message="Try\nmore"
)


@pytest.fixture
def world(database: Database, bus: SqliteBus) -> World:
    return World(database, bus, "registry.archive", handlers(Feed(database, FeedLimits())))


def commit() -> Event[EventData]:
    return happened(COMMIT, "commit-event", 0, "repositories/bank")


def drift(model_id: str, version: int) -> Event[EventData]:
    features = [DriftingFeature(name=n, evidence=9.0, change=0.3) for n in ("contact", "poutcome")]
    data = DriftDetected(
        model_id=model_id, model="m", version=version, episode="e", kind="data", features=features,
        since=Since(row=896), rows_seen=1024, false_alarm_every_rows=10**6, guarantee="g",
    )  # fmt: skip
    return happened(data, "drift-event", 4, f"models/m/versions/{version}")


async def events(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_events_are_read_by_cursor_in_the_order_of_their_arrival(
    client: httpx.AsyncClient, world: World
) -> None:
    facts = [
        happened(COMMIT.model_copy(update={"commit": f"c{n}"}), f"e{n}", n, "repositories/bank")
        for n in range(5)
    ]
    await world.says(*facts)

    first = await events(client, limit=3)
    rest = await events(client, limit=3, after=first["next"])

    items = [*first["items"], *rest["items"]]
    assert [item["id"] for item in items] == [f"e{n}" for n in range(5)]
    assert [item["position"] for item in items] == sorted(item["position"] for item in items)
    assert items[0]["specversion"] == "1.0"
    assert items[0]["data"]["commit"] == "c0"
    assert rest["next"] is None


async def test_a_redelivered_event_is_archived_once(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.says(commit(), commit())
    await world.says(commit())

    assert len((await events(client))["items"]) == 1


async def test_what_only_a_newer_producer_knows_is_kept(
    client: httpx.AsyncClient, world: World, bus: SqliteBus
) -> None:
    known = encode(commit())
    body = {**json.loads(known.value), "reviewed_by": "b@x"}
    headers = {**known.headers, "ce_tenant": "blue"}
    await bus.publish([replace(known, headers=headers, value=json.dumps(body).encode())])
    await world.says()

    [item] = (await events(client))["items"]
    assert (item["data"]["reviewed_by"], item["tenant"]) == ("b@x", "blue")


async def test_events_are_found_by_type_subject_and_model(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.says(commit(), drift("id", 1))

    by_topic = await events(client, type="code-changed")
    by_type = await events(client, type="dev.loopwright.drift-detected.v1")
    by_subject = await events(client, subject="repositories/bank")
    by_model = await events(client, model="m")

    found = [[item["id"] for item in f["items"]] for f in (by_topic, by_type, by_subject, by_model)]
    assert found == [["commit-event"], ["drift-event"], ["commit-event"], ["drift-event"]]


@pytest.mark.parametrize("query", [{"after": -1}, {"limit": 0}, {"after": 2**63}, {"limit": "x"}])
async def test_a_bad_cursor_is_refused_naming_the_field(
    client: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    answer = await client.get("/v1/events", params=query)

    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


async def registered_from_commit(client: httpx.AsyncClient, world: World) -> str:
    """The model id of version 1, which a commit led to and which was promoted."""
    await world.says(commit())
    run_id = await packaged_run(client, loopwright__pipeline_run="p-1")
    await register(client, run_id, CAUSE_HEADER, {"loopwright.commit": "9f2c1a0aa"})
    model = (await client.get("/v1/models/m/versions/1")).json()
    promoted = DeploymentPromoted(
        deployment_id="d", environment="production", model_id=model["model_id"], model="m",
        version=1, why="first version",
    )  # fmt: skip
    route = RoutesChanged(
        environment="production", model_id=model["model_id"], model="m", revision=1, arms=[]
    )
    subject = "models/m/versions/1"
    await world.says(
        happened(promoted, "promoted-event", 60 * 24 * 365 * 50, subject),
        happened(route, "route-event", 60 * 24 * 365 * 50, subject),
    )
    return str(model["model_id"])


async def test_why_goes_back_to_the_commit_and_on_to_the_promotion(
    client: httpx.AsyncClient, world: World
) -> None:
    await registered_from_commit(client, world)

    told = (await client.get("/v1/why/m/1")).json()["items"]

    assert [line["type"] for line in told] == [
        "code-changed", "model-registered", "deployment-promoted",
    ]  # fmt: skip
    assert told[0]["sentence"] == "commit 9f2c1a0a by a@x: Try"
    assert told[1]["causes"] == ["commit-event"]
    assert told[2]["sentence"] == "m version 1 promoted: first version"


async def test_why_goes_back_to_the_drift_over_the_request(
    client: httpx.AsyncClient, world: World
) -> None:
    request = RetrainRequested(pipeline="bank", reason="drift", requested_by="monitor")
    finished = TrainingFinished(
        pipeline="bank", run_id="p", commit="c", reason="drift", status="succeeded", why="",
        model="m", version=1, seconds=2,
    )  # fmt: skip
    await world.says(
        drift("id", 9),
        happened(request, "commit-event", 5, "pipelines/bank", ("drift-event",)),
        happened(finished, "finished-event", 6, "pipelines/bank", ("commit-event",)),
    )
    run_id = await packaged_run(client)
    await register(client, run_id, CAUSE_HEADER)
    await world.says()

    told = (await client.get("/v1/why/m/1")).json()["items"]

    assert [line["type"] for line in told] == [
        "drift-detected", "retrain-requested", "training-finished", "model-registered",
    ]  # fmt: skip
    assert told[0]["sentence"].startswith("data drift of m version 9 since row 896")


async def test_why_of_an_unknown_version_or_alias_is_a_404(
    client: httpx.AsyncClient, world: World
) -> None:
    await registered_from_commit(client, world)

    for reference in ("7", "@champion"):
        assert (await client.get(f"/v1/why/m/{reference}")).status_code == 404
    assert (await client.get("/v1/why/x/1")).status_code == 404

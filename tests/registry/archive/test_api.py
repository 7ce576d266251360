"""The archive keeps every lifecycle event, and tells why a version is where it is."""

from typing import Any

import httpx
import pytest

from tests.registry.archive.facts import COMMIT, commit, drift, events
from tests.registry.builders import (
    happened,
)
from tests.registry.harness import RegistryHarness


async def test_events_are_read_by_cursor_in_the_order_of_their_arrival(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    facts = [
        happened(COMMIT.model_copy(update={"commit": f"c{n}"}), f"e{n}", n, "repositories/bank")
        for n in range(5)
    ]
    await registry.deliver(*facts)

    first = await events(client, limit=3)
    rest = await events(client, limit=3, after=first["next"])

    items = [*first["items"], *rest["items"]]
    assert [item["id"] for item in items] == [f"e{n}" for n in range(5)]
    assert [item["position"] for item in items] == sorted(item["position"] for item in items)
    assert items[0]["specversion"] == "1.0"
    assert items[0]["data"]["commit"] == "c0"
    assert rest["next"] is None


async def test_events_are_found_by_type_subject_and_model(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    await registry.deliver(commit(), drift("id", 1))

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

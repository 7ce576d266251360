"""The alias `champion` follows the deployer, in whatever order its facts arrive."""

from itertools import permutations
from typing import Any

import httpx
import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.delivery.handlers import bind
from loopwright_common.events import (
    Arm,
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    EventData,
    RoutesChanged,
)
from loopwright_registry.versions.handlers import HANDLERS
from tests.registry.builders import call, emitted, error, happened, packaged_run, register, send
from tests.registry.harness import RegistryHarness


@pytest.fixture
def deployer(database: Database, bus: SqliteBus) -> RegistryHarness:
    return RegistryHarness(database, bus, "registry.lifecycle", bind(HANDLERS, "production"))


def fact(
    kind: type[DeploymentPromoted] | type[DeploymentRolledBack],
    model_id: str,
    version: int,
    minutes: int,
    *,
    previous: int | None = None,
    environment: str = "production",
) -> Event[EventData]:
    data = kind(
        deployment_id=f"d{version}",
        environment=environment,
        model_id=model_id,
        model="m",
        version=version,
        previous=previous,
        why="it is better",
    )
    name = f"{kind.topic}-{version}-{minutes}"
    return happened(data, name, minutes, f"models/m/versions/{version}")


async def model_with(client: httpx.AsyncClient, versions: int) -> str:
    run_id = await packaged_run(client)
    for _ in range(versions):
        await register(client, run_id)
    models = (await client.get("/v1/models")).json()["items"]
    return str(models[0]["model_id"])


async def aliases(client: httpx.AsyncClient) -> dict[str, int]:
    found: dict[str, int] = (await client.get("/v1/models")).json()["items"][0]["aliases"]
    return found


async def test_a_promotion_moves_the_alias_once_however_often_it_is_told(
    client: httpx.AsyncClient, database: Database, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 1)
    promoted = fact(DeploymentPromoted, model_id, 1, 0)

    await deployer.deliver(promoted, promoted)
    await deployer.deliver(promoted)

    [event] = await emitted(database, "alias-changed")
    assert await aliases(client) == {"champion": 1}
    assert (event["by"], event["alias"], event["version"]) == ("deployer", "champion", 1)
    assert event["headers"]["ce_causes"] == promoted.id


async def test_a_promotion_before_its_version_waits_for_it(
    client: httpx.AsyncClient, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 1)

    await deployer.deliver(fact(DeploymentPromoted, model_id, 2, 0))
    before = await aliases(client)
    await register(client, await packaged_run(client))

    assert (before, await aliases(client)) == ({}, {"champion": 2})


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_newest_decision_holds_in_every_order(
    client: httpx.AsyncClient, deployer: RegistryHarness, order: tuple[int, ...]
) -> None:
    model_id = await model_with(client, 2)
    facts = [
        fact(DeploymentPromoted, model_id, 1, 0),
        fact(DeploymentPromoted, model_id, 2, 1),
        fact(DeploymentRolledBack, model_id, 2, 2, previous=1),
    ]

    for index in order:
        await deployer.deliver(facts[index])

    assert await aliases(client) == {"champion": 1}


async def test_another_environment_does_not_move_the_alias(
    client: httpx.AsyncClient, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 1)

    await deployer.deliver(fact(DeploymentPromoted, model_id, 1, 0, environment="staging"))

    assert await aliases(client) == {}


async def test_a_champion_is_neither_deleted_nor_renamed(
    client: httpx.AsyncClient, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 2)
    await deployer.deliver(fact(DeploymentPromoted, model_id, 2, 0))
    conflict = (409, "RESOURCE_CONFLICT")

    deleted = await error(client, "DELETE", "model-versions/delete", name="m", version="2")
    renamed = await error(client, "POST", "registered-models/rename", name="m", new_name="n")
    removed = await error(client, "DELETE", "registered-models/delete", name="m")

    assert deleted == renamed == removed == conflict


async def test_the_alias_of_a_champion_is_asked_for_and_follows_what_serves(
    client: httpx.AsyncClient, deployer: RegistryHarness, database: Database
) -> None:
    model_id = await model_with(client, 2)
    await deployer.deliver(fact(DeploymentPromoted, model_id, 1, 0))

    for version in ("1", "2"):
        await call(
            client, "POST", "registered-models/alias", name="m", alias="champion", version=version
        )
    before = await aliases(client)
    [requested] = await emitted(database, "promotion-requested")
    await deployer.deliver(fact(DeploymentPromoted, model_id, 2, 1))

    assert before == {"champion": 1}
    assert (requested["version"], requested["by"]) == (2, "client")
    assert await aliases(client) == {"champion": 2}


async def test_what_serves_keeps_its_alias_and_is_not_archived(
    client: httpx.AsyncClient, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 3)
    await deployer.deliver(
        fact(DeploymentPromoted, model_id, 1, 0), routed(model_id, 2, [1, 2], [])
    )
    stage: dict[str, Any] = {"name": "m", "archive_existing_versions": False}

    async def archive(version: str) -> httpx.Response:
        wanted = {**stage, "version": version, "stage": "Archived"}
        return await send(client, "POST", "model-versions/transition-stage", **wanted)

    removed = await send(client, "DELETE", "registered-models/alias", name="m", alias="champion")
    champion, canary, idle = [await archive(version) for version in ("1", "2", "3")]

    assert (removed.status_code, champion.status_code, canary.status_code) == (409, 409, 409)
    assert "serves traffic, and champion says so: undo its promotion" in removed.json()["message"]
    assert "version 2 of m cannot be archived: in production it serves" in canary.json()["message"]
    assert idle.is_success
    assert await aliases(client) == {"champion": 1}


def routed(model_id: str, revision: int, live: list[int], kept: list[int]) -> Event[EventData]:
    def arm(version: int, weight: float) -> Arm:
        return Arm(version=version, weight=weight, digest="sha256:0", format="onnx")

    data = RoutesChanged(
        environment="production", model_id=model_id, model="m", revision=revision,
        arms=[arm(version, 1 / len(live)) for version in live], kept=[arm(v, 0) for v in kept],
    )  # fmt: skip
    return happened(data, f"routes-{revision}", revision, "models/m")


async def test_a_version_that_is_loaded_anywhere_is_not_deleted(
    client: httpx.AsyncClient, deployer: RegistryHarness
) -> None:
    model_id = await model_with(client, 3)
    await deployer.deliver(routed(model_id, 2, [2, 3], [1]), routed(model_id, 1, [], []))

    said = []
    for version in ("1", "2"):
        refused = await send(client, "DELETE", "model-versions/delete", name="m", version=version)
        assert refused.status_code == 409
        said.append(refused.json()["message"])
    renamed = await send(client, "POST", "registered-models/rename", name="m", new_name="n")
    await deployer.deliver(routed(model_id, 3, [3], []))
    await call(client, "DELETE", "model-versions/delete", name="m", version="2")

    assert "in production it is kept loaded for an undo" in said[0]
    assert "in production it serves traffic; promote another version" in said[1]
    assert "versions 1, 2, 3 are loaded" in renamed.json()["message"]


async def test_an_alias_set_by_a_client_is_told_and_repeating_it_is_not(
    client: httpx.AsyncClient, database: Database
) -> None:
    await model_with(client, 2)
    for version in ("1", "2", "2"):
        await call(
            client, "POST", "registered-models/alias", name="m", alias="best", version=version
        )
    await call(client, "DELETE", "model-versions/delete", name="m", version="2")

    events = await emitted(database, "alias-changed")

    moves = [(event.get("previous"), event.get("version")) for event in events]
    assert moves == [(None, 1), (1, 2), (2, None)]
    assert {event["by"] for event in events} == {"client"}
    assert len(await emitted(database, "version-deleted")) == 1

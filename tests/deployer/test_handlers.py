"""Redelivery, disorder and repetition of what the deployer hears."""

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.events import AliasChanged, PromotionRequested, ServingMeasured
from loopwright_deployer.canary.call_counts import CounterKey
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.deployments.repository import Deployments
from tests.deployer.builders import MODEL, MODEL_ID, registered
from tests.deployer.delivery import deliver, emitted


async def states(database: Database) -> dict[int, str]:
    async with database.read() as connection:
        records = await Deployments(connection).of_model("production", MODEL_ID)
    return {r.deployment.version: str(r.deployment.state) for r in records}


def measured(calls: int, errors: int = 0) -> ServingMeasured:
    return ServingMeasured(
        environment="production", model_id=MODEL_ID, model=MODEL, replica="r", epoch="e",
        revision=1, version=2, role="live", calls=calls, rows=calls, errors=errors,
        latency_edges=[0.1], latency_counts=[calls, 0],
    )  # fmt: skip


def requested(version: int) -> PromotionRequested:
    return PromotionRequested(model_id=MODEL_ID, model=MODEL, version=version, by="ada")


async def test_a_redelivered_version_is_deployed_once(database: Database, bus: EventBus) -> None:
    await deliver(database, bus, registered(1), times=3)

    assert await states(database) == {1: "received"}


async def test_a_newer_version_supersedes_an_older_one(database: Database, bus: EventBus) -> None:
    await deliver(database, bus, registered(1), registered(2))

    assert await states(database) == {1: "superseded", 2: "received"}


async def test_an_older_version_that_comes_late_gives_way(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, registered(2), registered(1))

    assert await states(database) == {1: "superseded", 2: "received"}


async def test_counters_take_the_maximum_in_any_order(database: Database, bus: EventBus) -> None:
    await deliver(database, bus, measured(30, 2), measured(10), measured(20, 1), times=2)

    async with database.read() as connection:
        counters = await CanaryCounters(connection).of_model("production", MODEL_ID)
    kept = counters[CounterKey("r", "e", 1, 2)]
    assert (kept.calls, kept.errors, kept.latency_counts) == (30, 2, (30, 0))


async def test_a_version_whose_policy_cannot_be_read_ends_as_it_is_heard_of(
    database: Database, bus: EventBus
) -> None:
    """It waits for no place among those that are staged, so that none of them waits for it."""
    await deliver(database, bus, registered(1), registered(2, deploy={"keep": 0}), times=2)

    assert await states(database) == {1: "superseded", 2: "rejected"}
    told = [changed["state"] for changed in await emitted(database, "deployment-changed")]
    assert told == ["received", "received", "superseded", "rejected"]
    finished = (await emitted(database, "deployment-finished"))[-1]
    assert finished["why"] == "its policy cannot be read: keep: has to be at least 1"


async def test_a_request_before_its_version_is_kept_for_it(
    database: Database, bus: EventBus
) -> None:
    await deliver(database, bus, requested(1), registered(1), times=2)

    assert await states(database) == {1: "received"}
    [refused] = await emitted(database, "promotion-refused")
    assert refused["why"] == "bank version 1 is on its way already: received, registered"


async def test_what_the_registry_says_of_the_champion_changes_nothing(
    database: Database, bus: EventBus
) -> None:
    alias = AliasChanged(model_id=MODEL_ID, model=MODEL, alias="champion", version=1, by="deployer")

    await deliver(database, bus, registered(1), alias)

    assert await states(database) == {1: "received"}
    assert await emitted(database, "promotion-refused") == []

"""Two monitors at once: each thing is done once, and who did it changes nothing that comes out."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from loopwright_common.database import leases
from loopwright_common.database.delivery_tables import leases as held_leases
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.captured_dataset import materialise
from loopwright_monitor.episodes.repository import Episodes
from loopwright_monitor.references import reference_from_dataset, reference_from_traffic
from loopwright_monitor.retraining import service as retraining
from loopwright_monitor.store.tables import captures, decisions, profiles
from tests.monitor.harness import MonitorHarness
from tests.monitor.replicas import Pair, step_together
from tests.monitor.scenarios.test_drift import inputs, opened


async def count(harness: MonitorHarness, query: sa.Select[Any]) -> int:
    async with harness.database.read() as connection:
        return len((await connection.execute(query)).all())


async def watched(harness: MonitorHarness, training: pa.Table) -> None:
    """Version 1 serves, and its profile is built."""
    await harness.register(training)
    await harness.promote()
    await harness.consume("lifecycle")
    await reference_from_dataset.build_wanted(harness.database, harness.store)


async def test_a_profile_is_built_once(pair: Pair, training: pa.Table) -> None:
    one, two = pair
    await one.register(training)
    await one.consume("lifecycle")
    reading = Counting(one.store)

    build = reference_from_dataset.build_wanted
    builds = [build(each.database, reading) for each in (one, two)]  # type: ignore[arg-type]
    await asyncio.gather(*builds)

    assert reading.reads == 1
    assert await count(one, sa.select(profiles)) == 1


async def test_a_profile_whose_builder_died_is_built_by_another(
    pair: Pair, training: pa.Table
) -> None:
    one, two = pair
    await one.register(training)
    await one.promote()
    await one.consume("lifecycle")
    async with one.database.unit_of_work() as uow:
        assert await leases.acquire(uow, "profile/m1/1")
    await reference_from_dataset.build_wanted(two.database, two.store)
    assert (await two.get("/v1/models/bank"))["profile"]["state"] == "wanted"

    async with one.database.unit_of_work() as uow:
        await uow.connection.execute(sa.delete(held_leases))
    await reference_from_dataset.build_wanted(two.database, two.store)

    assert (await two.get("/v1/models/bank"))["profile"]["state"] == "ready"


async def test_rows_that_come_before_the_profile_is_built_are_compared_with_it(
    pair: Pair, training: pa.Table, single_member: dict[str, Any]
) -> None:
    one, two = pair
    await one.register(training)
    await one.promote()
    await one.consume("lifecycle")
    await say_stream(one)
    await one.consume("detect")
    assert await one.state_of("inputs") == b""

    await reference_from_dataset.build_wanted(two.database, two.store)
    await one.score(inputs(100, seed=99))
    await one.consume("detect")

    async with one.database.read() as connection:
        assert len(await Episodes(connection).unclosed()) == len(single_member["told"]) == 1
    assert (await one.get("/v1/models/bank"))["episodes"][0]["since_row"] == 0


@pytest.mark.parametrize("members", ["joined later", "both for everything"])
async def test_who_handles_a_stream_changes_nothing(
    pair: Pair, training: pa.Table, members: str, single_member: dict[str, Any], tmp_path: Path
) -> None:
    one, two = pair
    await watched(one, training)
    await say_stream(one)

    for name in ("detect", "capture"):
        await HANDLED[members](one, two, name)

    assert await outcome(one, tmp_path) == single_member
    assert single_member["rows"] == single_member["seen"] == single_member["labelled"] == 1200


@pytest.fixture(scope="module")
def single_member(tmp_path_factory: pytest.TempPathFactory, training: pa.Table) -> dict[str, Any]:
    """What comes of the stream when one member handles all of it."""
    directory = tmp_path_factory.mktemp("alone")

    async def run() -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            harness = await opened(directory, stack)
            await watched(harness, training)
            await say_stream(harness)
            for name in ("detect", "capture"):
                await harness.consume(name)
            return await outcome(harness, directory / "out")

    return asyncio.run(run())


async def say_stream(harness: MonitorHarness) -> None:
    for seed in range(12):
        ids = await harness.score(inputs(100, cellular=0.6, seed=seed))
        await harness.label(ids, ["no"] * 100)


async def outcome(harness: MonitorHarness, directory: Path) -> dict[str, Any]:
    while await harness.relay.publish_some():
        pass
    shown = await harness.get("/v1/models/bank")
    pinned = await harness.post("/v1/captured/bank/manifest")
    return {
        "state": await harness.state_of("inputs"),
        "scores": await harness.state_of("score"),
        "told": [event.id for event in await harness.told("drift-detected")],
        "seen": shown["rows_seen"],
        "labelled": shown["labelled"],
        "rows": await materialise(harness.store, pinned["digest"], directory),
        "files": await count(harness, sa.select(captures)),
    }


async def by_one_and_another_that_joins(
    one: MonitorHarness, two: MonitorHarness, name: str
) -> None:
    async with one.joined(name) as first:
        for _ in range(2):
            await one.consumers[name].step(first, wait=0)
        async with two.joined(name) as second:
            await step_together((one, first), (two, second), name=name)


async def by_two_that_take_all(one: MonitorHarness, two: MonitorHarness, name: str) -> None:
    async with one.joined(name, "a") as first, two.joined(name, "b") as second:
        await step_together((one, first), (two, second), name=name)


HANDLED = {
    "joined later": by_one_and_another_that_joins,
    "both for everything": by_two_that_take_all,
}


async def test_a_retraining_is_asked_for_once(pair: Pair, training: pa.Table) -> None:
    one, two = pair
    await watched(one, training)
    for seed in range(4):
        await one.label(await one.score(inputs(256, cellular=0.6, seed=seed)), ["no"] * 256)
    for name in ("detect", "capture"):
        await one.consume(name)

    for _ in range(2):
        await asyncio.gather(
            *(retraining.review(h.database, h.store, h.run_timeout) for h in (one, two, one, two))
        )

    while await one.relay.publish_some():
        pass
    assert len(await one.told("retrain-requested")) == 1
    assert await count(one, sa.select(decisions)) == 2


async def test_a_first_reference_is_made_once(pair: Pair) -> None:
    one, two = pair
    await one.register(None)
    await one.promote()
    await one.consume("lifecycle")
    for seed in range(18):
        await one.score(inputs(256, seed=seed))
    await one.consume("detect")

    builds = [reference_from_traffic.build_collected(harness.database) for harness in (one, two)]
    await asyncio.gather(*builds)

    await one.score(inputs(256, seed=99))
    await one.consume("detect")
    shown = await one.get("/v1/models/bank")
    assert shown["profile"]["source"] == "the first 2,048 live rows of version 1"
    told = json.loads((await one.state_of("inputs")).partition(b"\n")[0])
    assert (told["origin"], told["rows"]) == (2048, 19 * 256 - 2048)


async def test_of_a_promotion_and_its_undoing_the_later_holds_in_any_order(pair: Pair) -> None:
    one, _ = pair
    await one.promote(1)
    await one.roll_back(2, to=1, second=20)
    await one.promote(2, second=10)
    await one.consume("lifecycle")

    assert (await one.get("/v1/models/bank"))["champion"] == 1


class Counting:
    """A store that counts what is read."""

    def __init__(self, store: ArtifactStore) -> None:
        self.reads = 0
        self._store = store

    async def size(self, digest: str) -> int | None:
        return await self._store.size(digest)

    async def get(self, digest: str) -> bytes:
        self.reads += 1
        await asyncio.sleep(0.1)
        return await self._store.get(digest)

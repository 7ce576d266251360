"""A replica whose Kafka dies: answers go on, and what was scored arrives once it is back."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest

from loopwright_common.bus.topics import all_topics
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from tests.engines import MortalKafka
from tests.scorer.harness import ROW, Replica, ScorerHarness, eventually

CALLS = 40


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncGenerator[MortalKafka, None]:
    broker = MortalKafka(tmp_path / "kafka")
    await broker.comes_up()
    await ensure_topics(broker.url, "", all_topics())
    yield broker
    broker.stop()


@pytest.fixture
async def far(
    broker: MortalKafka, store: FilesystemStore, tmp_path: Path, package_dirs: dict[str, Path]
) -> AsyncGenerator[ScorerHarness, None]:
    bus = await open_bus(broker.url)
    yield ScorerHarness(bus, store, tmp_path, package_dirs)
    await bus.close()


async def answers(replica: Replica, calls: int = CALLS) -> int:
    """How many of the calls, over a second or so, were answered."""
    good = 0
    for _ in range(calls):
        good += (await replica.infer(ROW)).status_code == 200
        await asyncio.sleep(0.03)
    return good


async def arrived(harness: ScorerHarness) -> dict[tuple[str, int], InferenceLogged]:
    """Batches by epoch and sequence: one that came twice is the same."""
    logged = cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))
    return {(batch.epoch, batch.sequence): batch for batch in logged}


async def test_records_of_a_replica_without_kafka_arrive_when_it_is_back(
    far: ScorerHarness, broker: MortalKafka
) -> None:
    async with far.replica() as replica:
        await far.route(1, await far.arm(1, "low"))
        await replica.serves(1)
        answered = await answers(replica)
        broker.kill()
        answered += await answers(replica)

    async with far.replica() as replica:
        await replica.serves(1)
        answered += await answers(replica)
        await broker.comes_up()

        async def nothing_waits() -> bool:
            return replica.metric("loopwright_inference_spill_batches") == 0

        await eventually(nothing_waits)

    batches = await arrived(far)
    assert answered == 3 * CALLS
    assert sum(batch.table.num_rows for batch in batches.values()) == answered
    for epoch in {epoch for epoch, _ in batches}:
        own = {number: batch for (each, number), batch in batches.items() if each == epoch}
        assert sorted(own) == list(range(len(own)))
        assert own[len(own) - 1].last

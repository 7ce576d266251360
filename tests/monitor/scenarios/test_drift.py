"""From logged rows to `drift-detected`."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from loopwright_common import clock
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_monitor.metrics import MAX_FEATURES, MonitorMetrics
from loopwright_monitor.worker import prune_before, show_metrics
from tests.monitor.harness import MonitorHarness


def inputs(rows: int, cellular: float = 0.1, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(40, 10, rows).clip(12, 70).tolist(),
        "contact": rng.choice(["cellular", "unknown"], rows, p=[cellular, 1 - cellular]).tolist(),
    }


async def test_drift_is_told_once_with_its_features_and_the_guarantee(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    for seed in range(8):
        await harness.score(inputs(256, cellular=0.6, seed=seed))
    await harness.settle()

    [event] = await harness.told("drift-detected")
    told = event.data
    assert (told.kind, told.version, told.features[0].name) == ("data", 1, "contact")
    assert told.features[0].before == pytest.approx(0.1, abs=0.02) or told.features[0].before > 0.8
    assert told.since.row == 0
    assert "on average or later" in told.guarantee
    assert event.subject == "models/bank/versions/1"
    assert event.causes


async def test_undrifted_rows_shadows_and_failures_are_no_drift(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    for seed in range(8):
        await harness.score(inputs(256, seed=seed))
        await harness.score(inputs(256, cellular=0.9, seed=seed), arm="shadow")
        failed = inputs(256, cellular=0.9, seed=seed)
        await harness.score(failed, error=["broken"] * 256)
    await harness.settle()

    assert await harness.told("drift-detected") == []


async def opened(directory: Path, stack: AsyncExitStack, batch: int = 32) -> MonitorHarness:
    bus = await SqliteBus.open(directory / "bus")
    stack.push_async_callback(bus.close)
    store = FilesystemStore(directory / "store")
    return await MonitorHarness.open(stack, f"sqlite:///{directory}", bus, store, batch)


async def run(
    directory: Path, training: pa.Table, sizes: list[int], batch: int
) -> tuple[list[str], bytes]:
    """The same rows in other batches and fetches; ids of what was told, and the state."""
    rows = inputs(2048, cellular=0.5)
    async with AsyncExitStack() as stack:
        harness = await opened(directory, stack, batch)
        await harness.register(training)
        await harness.promote()
        await harness.settle()
        at = 0
        for size in sizes:
            await harness.score({name: column[at : at + size] for name, column in rows.items()})
            at += size
        await harness.settle()
        told = [event.id for event in await harness.told("drift-detected")]
        return told, await harness.state_of("inputs")


async def test_batches_and_fetch_sizes_change_neither_state_nor_event_ids(
    tmp_path: Path, training: pa.Table
) -> None:
    whole = await run(tmp_path / "a", training, [2048], 32)
    pieces = await run(tmp_path / "b", training, [1, 255, 300, 1000, 492], 1)
    fetched = await run(tmp_path / "c", training, [27] * 75 + [23], 7)

    assert len(whole[0]) == 1
    assert whole == pieces == fetched


async def test_a_version_without_datasets_is_compared_with_its_first_rows(
    harness: MonitorHarness,
) -> None:
    await harness.register(None, pipeline=None)
    await harness.promote()
    await harness.settle()
    for seed in range(8):
        await harness.score(inputs(256, seed=seed))
    await harness.settle()
    for seed in range(8):
        await harness.score(inputs(256, cellular=0.7, seed=seed))
    await harness.settle()

    [event] = await harness.told("drift-detected")
    assert event.data.kind == "data"
    assert event.data.since.row == 2048
    profile = (await harness.get("/v1/models/bank"))["profile"]
    assert profile["source"] == "the first 2,048 live rows of version 1"
    assert "no training dataset was registered" in profile["why"]


async def test_an_unreadable_dataset_falls_back_to_the_first_rows_and_says_why(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training, signature={"inputs": [{"name": "other", "type": "double"}]})
    await harness.promote()
    await harness.settle()

    profile = (await harness.get("/v1/models/bank"))["profile"]
    assert profile["state"] == "collecting"
    assert "no rows of the version's inputs" in profile["why"]


async def test_a_drift_of_the_scores_is_a_prediction_drift(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    rng = np.random.default_rng(3)
    for at in range(16):
        scores = rng.uniform(0, 0.4 if at < 8 else 0.9, 256)
        await harness.score(inputs(256, seed=at), scores.tolist())
        if at in (8, 15):
            await harness.settle()

    [event] = await harness.told("drift-detected")
    assert (event.data.kind, event.data.features[0].name) == ("prediction", "score")


async def test_missing_values_are_quality_drift_and_ask_for_nothing(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    for seed in range(4):
        rows = inputs(256, seed=seed)
        await harness.score({**rows, "age": [None if i % 2 else 40.0 for i in range(256)]})
    await harness.settle()

    kinds = [event.data.kind for event in await harness.told("drift-detected")]
    assert "quality" in kinds
    decisions = (await harness.get("/v1/decisions"))["items"]
    assert any("mend its source" in each["sentence"] for each in decisions)


async def test_evidence_can_be_looked_at_any_time(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    await harness.score(inputs(512))
    await harness.settle()

    shown = await harness.get("/v1/models/bank")
    assert shown["champion"] == 1
    assert shown["rows_seen"] == 512
    assert {each["feature"] for each in shown["evidence"]} == {"age", "contact"}
    assert max(each["evidence"] for each in shown["evidence"]) < shown["alarm_at"]


async def test_when_the_first_rows_become_a_reference_changes_nothing(tmp_path: Path) -> None:
    """The worker may come at once, or after the rows that are to be compared."""
    told = []
    for name, settled_after in (("soon", 2), ("late", 3)):
        async with AsyncExitStack() as stack:
            harness = await opened(tmp_path / name, stack)
            await harness.register(None)
            await harness.promote()
            await harness.settle()
            for at in range(4):
                await harness.score(inputs(1024, cellular=0.1 if at < 2 else 0.6, seed=at))
                if at + 1 >= settled_after:
                    await harness.settle()
            events = await harness.told("drift-detected")
            told.append(([event.id for event in events], await harness.state_of("inputs")))

    assert len(told[0][0]) == 1
    assert told[0] == told[1]


async def test_what_happens_in_another_environment_is_not_watched(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote(environment="staging")
    await harness.settle()

    assert (await harness.get("/v1/models/bank"))["champion"] is None


async def test_batches_that_never_came_and_rows_that_were_dropped_are_told(
    harness: MonitorHarness,
) -> None:
    for sequence, harness.dropped in ((0, 0), (1, 0), (4, 0), (3, 0), (5, 40)):
        harness.sequence = sequence
        await harness.score(inputs(16))
    await harness.settle()

    gaps = (await harness.get("/v1/models/bank"))["gaps"]
    assert (gaps["missed_batches"], gaps["dropped_rows"]) == (1, 40)
    assert gaps["note"].startswith("logged batches missing: 1; rows the scorers dropped: 40")


async def test_a_replica_with_nothing_to_say_for_long_goes_on_without_a_gap(
    harness: MonitorHarness,
) -> None:
    for harness.sequence in (0, 1):
        await harness.score(inputs(16))
    await harness.settle()
    await prune_before(harness.database, clock.now() + timedelta(seconds=1))
    await harness.score(inputs(16))
    await harness.settle()

    assert (await harness.get("/v1/models/bank"))["gaps"]["missed_batches"] == 0


async def test_redacted_inputs_are_not_missing_and_the_others_are_watched(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training)
    await harness.promote()
    await harness.settle()
    for seed in range(20):
        contact = {"contact": inputs(256, cellular=0.6, seed=seed)["contact"]}
        await harness.score(contact, redacted=("age",))
    await harness.settle()

    (found,) = [event.data for event in await harness.told("drift-detected")]
    assert found.kind == "data"
    assert [feature.name for feature in found.features] == ["contact"]


async def test_metrics_show_rows_gaps_and_the_evidence_of_a_bounded_number_of_features(
    harness: MonitorHarness,
) -> None:
    names = [f"x{i}" for i in range(30)]
    rng = np.random.default_rng(0)
    await harness.register(pa.table({name: rng.normal(size=2000) for name in names}))
    await harness.promote()
    await harness.settle()
    await harness.score({name: rng.normal(size=512).tolist() for name in names})
    await harness.settle()
    registry = CollectorRegistry()

    await show_metrics(harness.database, MonitorMetrics(registry))

    shown = generate_latest(registry).decode()
    assert 'loopwright_monitor_rows_seen{model="bank"} 512.0' in shown
    assert shown.count("loopwright_drift_evidence{") == 2 * MAX_FEATURES

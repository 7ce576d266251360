"""From logged rows to `drift-detected`."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopwright_common.artifacts import DirectoryStore
from loopwright_common.sqlite_log import SqliteLog
from tests.monitor.house import House


def inputs(rows: int, cellular: float = 0.1, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(40, 10, rows).clip(12, 70).tolist(),
        "contact": rng.choice(["cellular", "unknown"], rows, p=[cellular, 1 - cellular]).tolist(),
    }


async def test_drift_is_told_once_with_its_features_and_the_guarantee(
    house: House, training: pa.Table
) -> None:
    await house.register(training)
    await house.promote()
    await house.settle()
    for seed in range(8):
        await house.score(inputs(256, cellular=0.6, seed=seed))
    await house.settle()

    [event] = await house.told("drift-detected")
    told = event.data
    assert (told.kind, told.version, told.features[0].name) == ("data", 1, "contact")
    assert told.features[0].before == pytest.approx(0.1, abs=0.02) or told.features[0].before > 0.8
    assert told.since.row == 0
    assert "on average or later" in told.guarantee
    assert event.subject == "models/bank/versions/1"
    assert event.causes


async def test_undrifted_rows_shadows_and_failures_are_no_drift(
    house: House, training: pa.Table
) -> None:
    await house.register(training)
    await house.promote()
    await house.settle()
    for seed in range(8):
        await house.score(inputs(256, seed=seed))
        await house.score(inputs(256, cellular=0.9, seed=seed), arm="shadow")
        failed = inputs(256, cellular=0.9, seed=seed)
        await house.score(failed, error=["broken"] * 256)
    await house.settle()

    assert await house.told("drift-detected") == []


async def run(
    directory: Path, training: pa.Table, sizes: list[int], batch: int
) -> tuple[list[str], bytes]:
    """The same rows in other batches and fetches; ids of what was told, and the state."""
    rows = inputs(2048, cellular=0.5)
    async with AsyncExitStack() as stack:
        bus = await SqliteLog.open(directory / "bus")
        stack.push_async_callback(bus.close)
        house = await House.open(
            stack, f"sqlite:///{directory}", bus, DirectoryStore(directory / "store"), batch
        )
        await house.register(training)
        await house.promote()
        await house.settle()
        at = 0
        for size in sizes:
            await house.score({name: column[at : at + size] for name, column in rows.items()})
            at += size
        await house.settle()
        told = [event.id for event in await house.told("drift-detected")]
        return told, await house.state_of("inputs")


async def test_batches_and_fetch_sizes_change_neither_state_nor_event_ids(
    tmp_path: Path, training: pa.Table
) -> None:
    whole = await run(tmp_path / "a", training, [2048], 32)
    pieces = await run(tmp_path / "b", training, [1, 255, 300, 1000, 492], 1)
    fetched = await run(tmp_path / "c", training, [7] * 292 + [4], 7)

    assert len(whole[0]) == 1
    assert whole == pieces == fetched


async def test_a_version_without_datasets_is_compared_with_its_first_rows(house: House) -> None:
    await house.register(None, pipeline=None)
    await house.promote()
    await house.settle()
    for seed in range(8):
        await house.score(inputs(256, seed=seed))
    for seed in range(8):
        await house.score(inputs(256, cellular=0.7, seed=seed))
    await house.settle()

    [event] = await house.told("drift-detected")
    assert event.data.kind == "data"
    assert event.data.since.row == 2048
    profile = (await house.get("/v1/models/bank"))["profile"]
    assert profile["source"] == "the first 2,048 live rows of version 1"
    assert "no training dataset was registered" in profile["why"]


async def test_an_unreadable_dataset_falls_back_to_the_first_rows_and_says_why(
    house: House, training: pa.Table
) -> None:
    await house.register(training, signature={"inputs": [{"name": "other", "type": "double"}]})
    await house.promote()
    await house.settle()

    profile = (await house.get("/v1/models/bank"))["profile"]
    assert profile["state"] == "collecting"
    assert "no rows of the version's inputs" in profile["why"]


async def test_a_drift_of_the_scores_is_a_prediction_drift(
    house: House, training: pa.Table
) -> None:
    await house.register(training)
    await house.promote()
    await house.settle()
    rng = np.random.default_rng(3)
    for at in range(16):
        scores = rng.uniform(0, 0.4 if at < 8 else 0.9, 256)
        await house.score(inputs(256, seed=at), scores.tolist())
    await house.settle()

    [event] = await house.told("drift-detected")
    assert (event.data.kind, event.data.features[0].name) == ("prediction", "score")


async def test_missing_values_are_quality_drift_and_ask_for_nothing(
    house: House, training: pa.Table
) -> None:
    await house.register(training)
    await house.promote()
    await house.settle()
    for seed in range(4):
        rows = inputs(256, seed=seed)
        await house.score({**rows, "age": [None if i % 2 else 40.0 for i in range(256)]})
    await house.settle()

    kinds = [event.data.kind for event in await house.told("drift-detected")]
    assert "quality" in kinds
    decisions = (await house.get("/v1/decisions"))["items"]
    assert any("mend its source" in each["sentence"] for each in decisions)


async def test_evidence_can_be_looked_at_any_time(house: House, training: pa.Table) -> None:
    await house.register(training)
    await house.promote()
    await house.settle()
    await house.score(inputs(512))
    await house.settle()

    shown = await house.get("/v1/models/bank")
    assert shown["champion"] == 1
    assert shown["rows_seen"] == 512
    assert {each["feature"] for each in shown["evidence"]} == {"age", "contact"}
    assert max(each["evidence"] for each in shown["evidence"]) < shown["alarm_at"]

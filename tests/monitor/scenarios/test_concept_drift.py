"""Concept drift: the champion's losses rise as labels come."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.monitor.harness import POLICY, MonitorHarness


async def labelled(harness: MonitorHarness, seed: int, wrong: float) -> None:
    """Four batches of rows with their labels."""
    rng = np.random.default_rng(seed)
    for _ in range(4):
        ids = await harness.score({"age": rng.normal(size=512).tolist()}, [0.1] * 512)
        labels = np.where(rng.random(512) < wrong, "yes", "no")
        await harness.label(ids, labels.tolist())
    await harness.settle()


async def drifted(harness: MonitorHarness, **monitor: Any) -> list[Any]:
    training = pa.table(
        {"age": np.random.default_rng(0).normal(size=2000), "y": ["no", "yes"] * 1000}
    )
    await harness.register(training, monitor={**POLICY, **monitor})
    await harness.promote()
    await harness.settle()
    await labelled(harness, 1, wrong=0.1)
    await labelled(harness, 2, wrong=0.5)
    return await harness.told("drift-detected", "retrain-requested")


async def test_a_champion_whose_losses_rise_is_told_and_retrained(harness: MonitorHarness) -> None:
    told, asked = await drifted(harness)

    assert (told.data.kind, told.data.features[0].name) == ("concept", "log loss")
    assert told.data.features[0].sentence.startswith("log loss 0.3")
    assert told.data.since.row == pytest.approx(2048, abs=128)
    assert asked.causes == (told.id,)


async def test_a_person_may_leave_losses_unwatched(harness: MonitorHarness) -> None:
    assert await drifted(harness, concept="none") == []

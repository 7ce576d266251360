"""An episode from its alarm over the request to the promotion that closes it."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from loopwright_common.events import Event
from tests.monitor.harness import POLICY, MonitorHarness
from tests.monitor.scenarios.test_drift import inputs


async def drift(harness: MonitorHarness, training: pa.Table, **registered: Any) -> list[str]:
    """Version 1 serves and its inputs drift; returns the ids of the drifted rows."""
    await harness.register(training, **registered)
    await harness.promote()
    await harness.settle()
    ids = []
    for seed in range(4):
        ids += await harness.score(inputs(256, cellular=0.6, seed=seed))
    await harness.settle()
    return ids


async def requests(harness: MonitorHarness) -> list[Event[Any]]:
    return await harness.told("retrain-requested")


async def sentences(harness: MonitorHarness) -> list[str]:
    items = (await harness.get("/v1/decisions"))["items"]
    return [each["sentence"] for each in reversed(items)]


async def test_a_request_waits_for_labels_and_follows_from_the_drift(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training)
    assert await requests(harness) == []
    assert await sentences(harness) == ["waits: 0 of 100 new labelled rows"]

    await harness.label(ids[:100], ["no"] * 100)
    await harness.settle()

    [asked] = await requests(harness)
    [told] = await harness.told("drift-detected")
    assert asked.causes == (told.id,) == tuple(asked.data.causes)
    assert asked.chain_id == told.chain_id
    assert (asked.data.pipeline, asked.data.reason, asked.key) == ("bank", "drift", "bank")
    captured = await harness.get("/v1/captured/bank")
    assert asked.data.captured == captured["newest"]["digest"]
    assert captured["newest"]["labelled"] == 100


async def test_one_request_at_a_time(harness: MonitorHarness, training: pa.Table) -> None:
    ids = await drift(harness, training)
    for at in range(0, 600, 100):
        await harness.label(ids[at : at + 100], ["no"] * 100)
        await harness.settle()

    assert len(await requests(harness)) == 1
    assert (await sentences(harness))[-1] == "waits: the retraining asked for is under way"


async def test_after_three_failures_a_person_is_needed(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training)
    for at in range(0, 800, 100):
        await harness.label(ids[at : at + 100], ["no"] * 100)
        await harness.settle()
        asked = await requests(harness)
        await harness.finish_training("failed", asked[-1].chain_id)
        await harness.settle()

    assert len(await requests(harness)) == 3
    assert len({event.id for event in await requests(harness)}) == 3
    assert (await sentences(harness))[-1].startswith("a person is needed: 3 retrainings")


async def test_a_rejected_version_leaves_the_episode_open_to_ask_again(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training)
    await harness.label(ids[:100], ["no"] * 100)
    await harness.settle()
    [first] = await requests(harness)
    await harness.reject(2, first.chain_id)
    await harness.label(ids[100:150], ["no"] * 50)
    await harness.settle()
    assert (await sentences(harness))[-1] == "waits: 50 of 100 new labelled rows"

    await harness.label(ids[150:200], ["no"] * 50)
    await harness.settle()
    assert len(await requests(harness)) == 2


async def test_a_request_that_nobody_answers_ends_and_is_repeated_by_the_policy(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training)
    await harness.label(ids[:100], ["no"] * 100)
    await harness.settle()
    harness.run_timeout = timedelta(0)
    await harness.label(ids[100:150], ["no"] * 50)
    await harness.settle()
    ended, waits = (await sentences(harness))[-2:]
    assert "has not reported and counts as failed" in ended
    assert waits == "waits: 50 of 100 new labelled rows"

    await harness.label(ids[150:200], ["no"] * 50)
    await harness.settle()
    assert len(await requests(harness)) == 2


@pytest.mark.parametrize("deployment_first", [True, False])
async def test_a_run_joined_with_a_commit_ends_the_request_whatever_comes_first(
    harness: MonitorHarness, training: pa.Table, deployment_first: bool
) -> None:
    ids = await drift(harness, training)
    await harness.label(ids[:100], ["no"] * 100)
    await harness.settle()
    [first] = await requests(harness)
    if deployment_first:
        await harness.reject(2)
        await harness.settle()
    await harness.finish_training("succeeded", None, version=2, causes=["commit", first.id])
    await harness.settle()
    if not deployment_first:
        await harness.reject(2)
    await harness.label(ids[100:200], ["no"] * 100)
    await harness.settle()

    assert len(await requests(harness)) == 2


async def test_a_promotion_closes_the_episode_and_watches_the_new_profile(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training)
    await harness.label(ids[:100], ["no"] * 100)
    await harness.settle()
    [asked] = await requests(harness)
    fresh = pa.table({**inputs(4000, cellular=0.6), "y": ["no"] * 4000})
    await harness.register(fresh, version=2)
    await harness.promote(2, chain=asked.chain_id)
    await harness.settle()
    for seed in range(8):
        await harness.score(inputs(256, cellular=0.6, seed=seed), version=2)
    await harness.settle()

    [episode] = (await harness.get("/v1/episodes"))["items"]
    assert episode["closed_why"] == "version 2 took over"
    assert len(await harness.told("drift-detected")) == 1


async def test_without_a_pipeline_drift_is_told_and_nothing_asked(
    harness: MonitorHarness, training: pa.Table
) -> None:
    ids = await drift(harness, training, pipeline=None)
    await harness.label(ids, ["no"] * len(ids))
    await harness.settle()

    assert len(await harness.told("drift-detected")) == 1
    assert await requests(harness) == []
    assert await sentences(harness) == ["told only: the version came without a pipeline"]


async def test_a_promotion_before_its_registration_is_completed_later(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.promote()
    await harness.settle()
    await harness.register(training)
    await harness.settle()
    for seed in range(4):
        await harness.score(inputs(256, cellular=0.6, seed=seed))
    await harness.settle()

    assert len(await harness.told("drift-detected")) == 1


async def test_a_wrong_policy_is_told_and_the_defaults_are_used(
    harness: MonitorHarness, training: pa.Table
) -> None:
    await harness.register(training, monitor={**POLICY, "smallest_change": 2})
    await harness.promote()
    await harness.settle()

    profile = (await harness.get("/v1/models/bank"))["profile"]
    assert profile["why"].startswith("monitor: smallest_change: has to be less than 0.5; the")
    assert profile["state"] == "ready"

"""An episode from its alarm over the request to the promotion that closes it."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from loopwright_common.events import Event
from tests.monitor.house import POLICY, House
from tests.monitor.test_drift import inputs


async def drift(house: House, training: pa.Table, **registered: Any) -> list[str]:
    """Version 1 serves and its inputs drift; returns the ids of the drifted rows."""
    await house.register(training, **registered)
    await house.promote()
    await house.settle()
    ids = []
    for seed in range(4):
        ids += await house.score(inputs(256, cellular=0.6, seed=seed))
    await house.settle()
    return ids


async def requests(house: House) -> list[Event[Any]]:
    return await house.told("retrain-requested")


async def sentences(house: House) -> list[str]:
    items = (await house.get("/v1/decisions"))["items"]
    return [each["sentence"] for each in reversed(items)]


async def test_a_request_waits_for_labels_and_follows_from_the_drift(
    house: House, training: pa.Table
) -> None:
    ids = await drift(house, training)
    assert await requests(house) == []
    assert await sentences(house) == ["waits: 0 of 100 new labelled rows"]

    await house.label(ids[:100], ["no"] * 100)
    await house.settle()

    [asked] = await requests(house)
    [told] = await house.told("drift-detected")
    assert asked.causes == (told.id,) == tuple(asked.data.causes)
    assert asked.chain_id == told.chain_id
    assert (asked.data.pipeline, asked.data.reason, asked.key) == ("bank", "drift", "bank")
    captured = await house.get("/v1/captured/bank")
    assert asked.data.captured == captured["newest"]["digest"]
    assert captured["newest"]["labelled"] == 100


async def test_one_request_at_a_time(house: House, training: pa.Table) -> None:
    ids = await drift(house, training)
    for at in range(0, 600, 100):
        await house.label(ids[at : at + 100], ["no"] * 100)
        await house.settle()

    assert len(await requests(house)) == 1
    assert (await sentences(house))[-1] == "waits: the retraining asked for is under way"


async def test_after_three_failures_a_person_is_needed(house: House, training: pa.Table) -> None:
    ids = await drift(house, training)
    for at in range(0, 800, 100):
        await house.label(ids[at : at + 100], ["no"] * 100)
        await house.settle()
        asked = await requests(house)
        await house.finish_training("failed", asked[-1].chain_id)
        await house.settle()

    assert len(await requests(house)) == 3
    assert len({event.id for event in await requests(house)}) == 3
    assert (await sentences(house))[-1].startswith("a person is needed: 3 retrainings")


async def test_a_rejected_version_leaves_the_episode_open_to_ask_again(
    house: House, training: pa.Table
) -> None:
    ids = await drift(house, training)
    await house.label(ids[:100], ["no"] * 100)
    await house.settle()
    [first] = await requests(house)
    await house.reject(2, first.chain_id)
    await house.label(ids[100:150], ["no"] * 50)
    await house.settle()
    assert (await sentences(house))[-1] == "waits: 50 of 100 new labelled rows"

    await house.label(ids[150:200], ["no"] * 50)
    await house.settle()
    assert len(await requests(house)) == 2


async def test_a_request_that_nobody_answers_ends_and_is_repeated_by_the_policy(
    house: House, training: pa.Table
) -> None:
    ids = await drift(house, training)
    await house.label(ids[:100], ["no"] * 100)
    await house.settle()
    house.patience = timedelta(0)
    await house.label(ids[100:150], ["no"] * 50)
    await house.settle()
    ended, waits = (await sentences(house))[-2:]
    assert "has not reported and counts as failed" in ended
    assert waits == "waits: 50 of 100 new labelled rows"

    await house.label(ids[150:200], ["no"] * 50)
    await house.settle()
    assert len(await requests(house)) == 2


@pytest.mark.parametrize("deployment_first", [True, False])
async def test_a_run_joined_with_a_commit_ends_the_request_whatever_comes_first(
    house: House, training: pa.Table, deployment_first: bool
) -> None:
    ids = await drift(house, training)
    await house.label(ids[:100], ["no"] * 100)
    await house.settle()
    [first] = await requests(house)
    if deployment_first:
        await house.reject(2)
        await house.settle()
    await house.finish_training("succeeded", None, version=2, causes=["commit", first.id])
    await house.settle()
    if not deployment_first:
        await house.reject(2)
    await house.label(ids[100:200], ["no"] * 100)
    await house.settle()

    assert len(await requests(house)) == 2


async def test_a_promotion_closes_the_episode_and_watches_the_new_profile(
    house: House, training: pa.Table
) -> None:
    ids = await drift(house, training)
    await house.label(ids[:100], ["no"] * 100)
    await house.settle()
    [asked] = await requests(house)
    fresh = pa.table({**inputs(4000, cellular=0.6), "y": ["no"] * 4000})
    await house.register(fresh, version=2)
    await house.promote(2, chain=asked.chain_id)
    await house.settle()
    for seed in range(8):
        await house.score(inputs(256, cellular=0.6, seed=seed), version=2)
    await house.settle()

    [episode] = (await house.get("/v1/episodes"))["items"]
    assert episode["closed_why"] == "version 2 took over"
    assert len(await house.told("drift-detected")) == 1


async def test_without_a_pipeline_drift_is_told_and_nothing_asked(
    house: House, training: pa.Table
) -> None:
    ids = await drift(house, training, pipeline=None)
    await house.label(ids, ["no"] * len(ids))
    await house.settle()

    assert len(await house.told("drift-detected")) == 1
    assert await requests(house) == []
    assert await sentences(house) == ["told only: the version came without a pipeline"]


async def test_a_promotion_before_its_registration_is_completed_later(
    house: House, training: pa.Table
) -> None:
    await house.promote()
    await house.settle()
    await house.register(training)
    await house.settle()
    for seed in range(4):
        await house.score(inputs(256, cellular=0.6, seed=seed))
    await house.settle()

    assert len(await house.told("drift-detected")) == 1


async def test_a_wrong_policy_is_told_and_the_defaults_are_used(
    house: House, training: pa.Table
) -> None:
    await house.register(training, monitor={**POLICY, "smallest_change": 2})
    await house.promote()
    await house.settle()

    profile = (await house.get("/v1/models/bank"))["profile"]
    assert profile["why"].startswith("monitor.smallest_change: ")
    assert profile["state"] == "ready"

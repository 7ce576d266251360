"""What becomes of versions by their holdout: real packages, scorers, rows and people."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loopwright_common.bus.interface import EventBus
from loopwright_common.events import Dataset
from loopwright_common.storage.filesystem import FilesystemStore
from tests.deployer.builders import COLUMNS, customers, pipeline, skops_package, with_example
from tests.deployer.harness import DeployerHarness, running_harness

ROWS = 228
QUICK = {"staging": {"latency": {"at_most": "20x champion"}}}


async def test_worse_is_rejected_unclear_waits_for_a_person_and_better_goes_on(
    tmp_path: Path, bus: EventBus, store: FilesystemStore
) -> None:
    """A regressor of prices, of whose loss nothing is set."""
    dataset = await held_out(store)
    first = regressor(tmp_path / "1", off_by=20_000)
    async with running_harness(tmp_path, bus, store, first) as harness:
        await harness.register(1, datasets=[dataset], deploy=QUICK)
        await harness.reaches(1, "promoted")

        harness.package = regressor(tmp_path / "2", off_by=40_000)
        await harness.register(2, datasets=[dataset], deploy=QUICK)
        rejected = await harness.reaches(2, "rejected")
        harness.package = regressor(tmp_path / "3", off_by=20_350)
        await harness.register(3, datasets=[dataset], deploy=QUICK)
        paused = await harness.reaches(3, "paused")

        assert holdout(rejected)["verdict"] == "failed"
        assert holdout(paused)["verdict"] == "inconclusive"
        assert "1 - r2 " in paused["why"], paused["why"]
        assert "not clear: at this difference it takes about " in paused["why"], paused["why"]
        await stays(harness, 3, "paused")
        assert (await harness.request(3, "resume")).is_success
        await harness.reaches(3, "canary")
        assert (await harness.request(3, "abort")).is_success

        harness.package = regressor(tmp_path / "4", off_by=10_000)
        await harness.register(4, datasets=[dataset], deploy=QUICK)
        better = await harness.reaches(4, "canary")
        assert holdout(better)["verdict"] == "passed"


async def test_another_holdout_without_times_is_compared_on_what_neither_was_trained_on(
    tmp_path: Path, bus: EventBus, store: FilesystemStore
) -> None:
    """A leak counts for nothing; where all rows are one, a person is told what would end it."""
    trained = await kept(store, "training", houses(400, seed=2))
    first = regressor(tmp_path / "1", off_by=20_000)
    async with running_harness(tmp_path, bus, store, first) as harness:
        await harness.register(1, datasets=[trained, await held_out(store)], deploy=QUICK)
        await harness.reaches(1, "promoted")

        harness.package = regressor(tmp_path / "2", off_by=10_000)
        other = await held_out(store, seed=31, leaked=25)
        sliced = {"staging": {**QUICK["staging"], "holdout": {"slices": ["rate"]}}}
        await harness.register(2, datasets=[trained, other], deploy=sliced)
        compared = holdout(await harness.reaches(2, "canary"))
        assert compared["verdict"] == "passed"
        assert f" on {ROWS} rows in neither training: difference -" in compared["sentence"]
        assert compared["sentence"].endswith(
            "; no slice has 200 rows; left out: 25 rows that version 2 was trained on, 25 rows that"
            " version 1 was trained on"
        )
        await harness.request(2, "abort")

        leaked = await kept(store, "holdout", houses(400, seed=2))
        await harness.register(3, datasets=[trained, leaked], deploy=QUICK)
        paused = await harness.reaches(3, "paused")
        assert "only 0 labelled rows in neither training, 200 needed" in paused["why"]
        assert "`register: {holdout: FILE}` of loopwright.yaml" in paused["why"]
        assert "left out: 400 rows that version 3 was trained on" in paused["why"]


async def test_a_metric_of_other_answers_rejects_the_first_version_with_the_key(
    tmp_path: Path, bus: EventBus, store: FilesystemStore
) -> None:
    deploy = {"staging": {"holdout": {"metric": "log_loss"}}}
    package = regressor(tmp_path / "1", off_by=0)
    async with running_harness(tmp_path, bus, store, package) as harness:
        await harness.register(1, deploy=deploy)
        rejected = await harness.reaches(1, "rejected")

    assert "deploy.staging.holdout.metric: log_loss is no loss of a regressor" in rejected["why"]


def holdout(deployment: dict[str, Any]) -> dict[str, Any]:
    return next(check for check in deployment["checks"] if check["name"] == "holdout")


async def stays(harness: DeployerHarness, version: int, state: str) -> None:
    """It does for a second: what is not clear never goes on by itself."""
    for _ in range(20):
        assert (await harness.deployment(version))["state"] == state
        await asyncio.sleep(0.05)


def houses(rows: int, seed: int) -> tuple[Any, Any]:
    """The columns of `customers`, and prices that depend on them."""
    frame, _ = customers(rows, seed)
    noise = np.random.default_rng(seed).normal(0, 10_000, rows)
    return frame, 1e5 + 3e4 * frame.rate + 5e4 * (frame.job == "nurse") + noise


def regressor(directory: Path, off_by: float) -> Path:
    """A package whose predictions are too high by so much."""
    from sklearn.base import clone
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    frame, prices = houses(400, seed=2)
    fitted = make_pipeline(clone(pipeline()[0]), Ridge()).fit(frame, prices + off_by)
    package = skops_package(directory, fitted, COLUMNS)
    return with_example(package, ["age", "rate", "job"], [[30, 0.5, "nurse"], [60, -0.5, "clerk"]])


async def held_out(store: FilesystemStore, seed: int = 9, leaked: int = 0) -> dict[str, Any]:
    """Rows that no regressor learned, and some that all did."""
    held, learned = houses(ROWS, seed), houses(400, seed=2)
    frame = pd.concat([held[0], learned[0][:leaked]], ignore_index=True)
    prices = pd.concat([pd.Series(held[1]), pd.Series(learned[1])[:leaked]], ignore_index=True)
    return await kept(store, "holdout", (frame, prices))


async def kept(store: FilesystemStore, role: str, labelled: tuple[Any, Any]) -> dict[str, Any]:
    frame, prices = labelled
    digest = (await store.put(frame.assign(y=prices).to_parquet())).digest
    dataset = Dataset.model_validate(
        {"role": role, "digest": digest, "location": "x", "rows": len(frame), "target": "y"}
    )
    return dataset.model_dump(mode="json")

"""Labels that come hours after a canary say that its version was wrong, and it is taken back."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.storage.filesystem import FilesystemStore
from tests.common.bus_harness import until
from tests.deployer.builders import COLUMNS, MODEL, customers, pipeline, skops_package
from tests.deployer.harness import DeployerHarness
from tests.deployer.scenarios.conftest import Engine, capturing_harness

POLICY = {
    "canary": {"steps": [{"weight": 0.5, "min_requests": 60}]},
    # Others work on the machine too; here nothing is slow.
    "staging": {"latency": {"at_most": "20x champion", "slack": "5s"}},
    "labels": {"window": "1h", "margin": 0.05},
}


def estimator(*, wrong: bool = False) -> Any:
    """A model of the customers, or one that learnt the contrary of each label."""
    frame, labels = customers(400)
    return pipeline().fit(frame, 1 - labels if wrong else labels)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("packages")
    return {
        "right": skops_package(directory / "right", estimator(), COLUMNS),
        "wrong": skops_package(directory / "wrong", estimator(wrong=True), COLUMNS),
    }


@pytest.fixture
async def harness(
    engine: Engine, tmp_path: Path, store: FilesystemStore, packages: dict[str, Path]
) -> AsyncGenerator[DeployerHarness, None]:
    """Version 1 is champion, and has answered enough calls to say what is slow."""
    async with capturing_harness(engine, tmp_path, store, packages["right"]) as harness:
        await harness.register(1)
        await harness.reaches(1, "promoted")
        for _ in range(30):
            await harness.ask()
        yield harness


async def called_until_promoted(harness: DeployerHarness) -> dict[str, int]:
    """Customers ask until version 2 is promoted: what was right, by prediction id."""
    frame, _ = customers(200, seed=1)
    right = dict(zip(frame.index, estimator().predict(frame).tolist(), strict=True))
    found: dict[str, int] = {}

    async def promoted() -> bool:
        for number, row in frame.sample(20, random_state=len(found)).iterrows():
            inputs = [
                {"name": name, "datatype": datatype, "shape": [1], "data": [row[name]]}
                for name, datatype in (("age", "INT64"), ("rate", "FP64"), ("job", "BYTES"))
            ]
            answer = await harness.scorer.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs})
            found[answer.raise_for_status().headers["loopwright-prediction-id"]] = right[number]
        state = (await harness.deployment(2))["state"]
        assert state in {"received", "packaging", "staging", "validated", "canary", "promoting",
                         "promoted"}, await harness.deployment(2)  # fmt: skip
        return bool(state == "promoted")

    await until(promoted)
    return found


async def give_labels(harness: DeployerHarness, labels: dict[str, int]) -> None:
    body = {"model": MODEL, "ids": list(labels), "labels": list(labels.values())}
    answer = (await harness.scorer.post("/v1/feedback", json=body)).raise_for_status().json()
    assert answer["accepted"] == len(labels)


async def test_late_labels_take_back_a_version_that_was_wrong(
    harness: DeployerHarness, packages: dict[str, Path]
) -> None:
    await harness.register(2, packages["wrong"], deploy=POLICY)
    await harness.reaches(2, "canary")
    labels = await called_until_promoted(harness)
    await give_labels(harness, labels)

    taken_back = await harness.reaches(2, "rolled-back")

    why = taken_back["why"]
    assert why.startswith("labels that came after the promotion: "), why
    assert "(100.0%) of the canary were wrong on the new version, 0 of " in why
    assert (await harness.deployment(1))["state"] == "promoted"
    await harness.answers({"1"}.__eq__)


async def test_late_labels_leave_a_version_that_was_as_right(
    harness: DeployerHarness, packages: dict[str, Path]
) -> None:
    await harness.register(2, packages["right"], deploy=POLICY)
    await harness.reaches(2, "canary")
    labels = await called_until_promoted(harness)
    await give_labels(harness, labels)

    async def are_counted() -> bool:
        checks = (await harness.deployment(2))["checks"]
        found = next((check for check in checks if check["name"] == "canary-labels"), None)
        return found is not None and found["comparison"]["canary"]["calls"] >= 60

    await until(are_counted)
    assert (await harness.deployment(2))["state"] == "promoted"
    await harness.answers({"2"}.__eq__)

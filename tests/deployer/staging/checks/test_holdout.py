"""Which rows are fair to two versions, and what a version is told that brings none."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from loopwright_common.deploy_policy import HoldoutPolicy, StagingPolicy
from loopwright_common.events import Dataset
from loopwright_common.serving.spec import ServingSpec, Tensor
from loopwright_deployer.staging.checks import holdout
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.holdout import SHARED, HoldoutCheck, check_holdout
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, UnusableHoldoutError
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from tests.deployer.builders import MODEL, registered
from tests.deployer.staging.recorded import recorded


class Answering(ScorerClient):
    """A scorer that predicts 1 for every row."""

    def score(self, values: dict[str, list[Any]], batch: int = 1) -> dict[str, Any]:  # noqa: ARG002
        return {"prediction": np.ones(len(next(iter(values.values()))))}


SPEC = ServingSpec(
    format="onnx",
    file="model.onnx",
    task="classifier",
    tensor=Tensor(name="x", dtype="float32", shape=[2]),
    source_digest="sha256:" + "1" * 64,
)


def version(number: int, **digests: str) -> StagedVersion:
    """With datasets of these digests by role; all trained until 2026."""
    datasets = [
        {"role": role, "digest": f"sha256:{digest}", "location": "x", "rows": 9, "until": until}
        for role, digest in digests.items()
        for until in ["2026-01-01T00:00:00Z" if role == "training" else None]
    ]
    nobody = ScorerClient("http://127.0.0.1:9", MODEL)
    return StagedVersion(nobody, registered(number, datasets=datasets), SPEC)


async def asked_for(candidate: StagedVersion, champion: StagedVersion | None) -> Any:
    """From when on the rows of the holdout have to be, where they are read at all."""
    asked: list[Any] = []

    async def read(dataset: Dataset, later_than: datetime | None) -> Any:
        asked.append(later_than)
        raise UnusableHoldoutError("enough")

    context = StagingContext(
        policy=StagingPolicy(),
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        recorded=recorded(),
        time_limit=300,
    )
    check = await HoldoutCheck().run(context)
    return asked[0] if asked else check


async def test_of_a_holdout_that_both_brought_all_rows_are_fair() -> None:
    first, second = (version(n, training=f"t{n}", holdout="h") for n in (1, 2))

    assert await asked_for(second, first) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"training": "a", "holdout": "h"}, {"training": "b", "holdout": "i"}),
        ({"training": "a", "holdout": "h"}, {"training": "h", "holdout": "h"}),
        ({"training": "h", "holdout": "h"}, {"training": "b", "holdout": "h"}),
        ({"training": "a"}, {"training": "b", "holdout": "h"}),
    ],
    ids=["different", "learned by the candidate", "learned by the champion", "one alone"],
)
async def test_else_they_are_later_than_both_trainings(
    first: dict[str, str], second: dict[str, str]
) -> None:
    later_than = await asked_for(version(2, **second), version(1, **first))

    assert isinstance(later_than, datetime)


async def test_who_leaves_the_holdout_away_is_not_better_off() -> None:
    with_one, without = version(1, training="a", holdout="h"), version(2, training="b")

    unclear = await asked_for(without, with_one)
    alone = await asked_for(without, None)
    neither = await asked_for(without, version(1, training="a"))

    assert unclear.verdict == "inconclusive"
    assert "version 1 has one: name it in `register: {holdout: FILE}`" in unclear.sentence
    assert (alone.verdict, neither.verdict) == ("skipped", "skipped")


async def test_who_does_not_say_until_when_it_was_trained_is_told_what_helps() -> None:
    unclear = await asked_for(version(2, holdout="i"), version(1, training="a", holdout="h"))

    assert unclear.verdict == "inconclusive"
    assert holdout._REMEDY in unclear.sentence


def regressor(number: int) -> StagedVersion:
    client = Answering("http://127.0.0.1:9", MODEL)
    spec = SPEC.model_copy(update={"task": "regressor"})
    return replace(version(number, training="a", holdout="h"), client=client, spec=spec)


def held_out(rows: int) -> Holdout:
    """The truth is 3 in each row."""
    return Holdout({"x": [[0.0, 0.0]] * rows, "y": [3.0] * rows}, "y", rows)


def test_a_regressor_is_told_by_the_loss_that_it_has() -> None:
    alone = check_holdout(HoldoutPolicy(), held_out(200), regressor(1), None)
    beside = check_holdout(HoldoutPolicy(), held_out(200), regressor(2), regressor(1))

    assert alone.sentence == "squared_error 4.0000 on 200 rows; no champion to compare"
    assert beside.sentence.startswith("squared_error 4.0000 against the champion's 4.0000")
    assert (alone.unit, beside.unit) == ("squared_error", "squared_error")


def test_too_few_rows_are_told_with_the_first_version_and_with_what_helps() -> None:
    alone = check_holdout(HoldoutPolicy(), held_out(199), regressor(1), None)
    shared = check_holdout(HoldoutPolicy(), held_out(199), regressor(2), regressor(1), SHARED)
    later = check_holdout(HoldoutPolicy(), held_out(199), regressor(2), regressor(1))

    assert alone.verdict == "passed"
    assert alone.sentence.endswith("to compare the next version takes 200 rows, hold out more")
    assert (shared.verdict, later.verdict) == ("inconclusive", "inconclusive")
    assert shared.sentence == (
        "only 199 labelled rows in the holdout of both, 200 needed: hold out more, or resume"
        " without this comparison"
    )
    assert later.sentence.endswith(holdout._REMEDY)

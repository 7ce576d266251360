"""By which loss versions are compared, and who has it."""

from typing import Any

import numpy as np
import pytest

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.errors import InvalidError
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.checks.holdout_losses import (
    losses_of,
    metric_for,
    refusal,
    scale_of,
)
from loopwright_deployer.staging.evaluation.holdout_rows import UnusableHoldoutError
from tests.deployer.staging.answering import (
    SPEC,
    classifier,
    held_out,
    labeller,
    regressor,
    version,
)

SEVERAL = version(4, regressor(4, []).client, SPEC.model_copy(update={"targets": 3}))
KEY = "deploy.staging.holdout.metric"


def policy(metric: str | None) -> HoldoutPolicy:
    return HoldoutPolicy.model_validate({"metric": metric, "margin": 0.5 if metric else None})


@pytest.mark.parametrize(
    ("versions", "metric"),
    [
        ([regressor(1, [])], "r2"),
        ([classifier(1, []), classifier(2, [])], "log_loss"),
        ([labeller(1, [])], "error_rate"),
        ([classifier(2, []), labeller(1, [])], "error_rate"),
        ([labeller(2, []), classifier(1, [])], "error_rate"),
    ],
)
def test_unless_set_the_metric_is_one_that_all_have(
    versions: list[StagedVersion], metric: str
) -> None:
    assert metric_for(policy(None), *versions) == metric


def test_what_is_set_is_taken() -> None:
    assert metric_for(policy("brier"), classifier(1, [])) == "brier"
    assert metric_for(policy("absolute_error"), regressor(1, [])) == "absolute_error"


@pytest.mark.parametrize(
    ("version", "metrics"),
    [
        (regressor(1, []), ["r2", "squared_error", "absolute_error"]),
        (classifier(1, []), ["log_loss", "brier", "error_rate"]),
        (labeller(1, []), ["error_rate"]),
        (SEVERAL, []),
    ],
    ids=["regressor", "classifier", "labels only", "several answers"],
)
def test_every_metric_is_one_of_the_versions_or_refused(
    version: StagedVersion, metrics: list[str]
) -> None:
    every = ["log_loss", "brier", "error_rate", "r2", "squared_error", "absolute_error"]

    assert refusal(policy(None), version) is None
    assert [metric for metric in every if refusal(policy(metric), version) is None] == metrics


@pytest.mark.parametrize(
    ("metric", "version", "told"),
    [
        (
            "log_loss",
            regressor(7, []),
            f"{KEY}: log_loss is no loss of a regressor, which version 7 is: leave it out, or use"
            " r2 or squared_error or absolute_error",
        ),
        (
            "brier",
            labeller(7, []),
            f"{KEY}: brier is of probabilities, and version 7 answers labels only: leave it out,"
            " or use error_rate",
        ),
        (
            "r2",
            SEVERAL,
            f"{KEY}: r2 is of one answer a row, and version 4 gives 3: leave it out",
        ),
    ],
)
def test_a_refusal_names_the_key_and_what_helps(
    metric: str, version: StagedVersion, told: str
) -> None:
    assert refusal(policy(metric), version) == told


@pytest.mark.parametrize(
    ("metric", "version", "losses"),
    [
        ("squared_error", regressor(1, [1.0, 5.0]), [1, 16]),
        ("absolute_error", regressor(1, [1.0, 5.0]), [1, 4]),
        ("brier", classifier(1, [0.2, 0.5]), [0.04, 0.25]),
        ("error_rate", classifier(1, [0.2, 0.9]), [0, 0]),
        ("error_rate", labeller(1, [1, 1]), [1, 0]),
    ],
)
def test_each_metric_has_its_own_losses(
    metric: Any, version: StagedVersion, losses: list[float]
) -> None:
    assert losses_of(metric, held_out([0, 1]), version) == pytest.approx(losses)


def test_of_answers_without_such_a_loss_none_is_made_up() -> None:
    with pytest.raises(InvalidError, match="version 1 answers labels only"):
        losses_of("log_loss", held_out([0, 1]), labeller(1, [0, 1]))


def test_only_r2_is_a_share_of_something() -> None:
    truth = held_out([1.0, 3.0])

    scale = scale_of("r2", truth)

    assert scale is not None
    assert np.array_equal(scale, [1.0, 1.0])
    assert scale_of("squared_error", truth) is None


def test_a_target_that_does_not_vary_is_told_with_what_helps() -> None:
    with pytest.raises(UnusableHoldoutError) as unusable:
        scale_of("r2", held_out([0.1] * 300))

    assert str(unusable.value) == (
        "the target is 0.1 in each of 300 rows, and r2 is a share of its variance: hold out rows"
        f" that differ, or set {KEY} to squared_error or absolute_error, with a margin"
    )

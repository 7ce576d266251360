"""By which loss versions are compared on a holdout, and what their answers cost by it."""

from collections.abc import Mapping
from typing import cast, get_args

import numpy as np

from loopwright_common.deploy_policy import (
    ClassifierMetric,
    HoldoutPolicy,
    Metric,
    RegressorMetric,
)
from loopwright_common.errors import InvalidError
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.evaluation.holdout_rows import (
    Holdout,
    UnusableHoldoutError,
    class_indices,
)
from loopwright_deployer.staging.evaluation.row_losses import (
    Floats,
    classifier_losses,
    regressor_losses,
    squared_deviations,
    target_values,
)

METRIC_KEY, MARGIN_KEY = (f"deploy.staging.holdout.{key}" for key in ("metric", "margin"))
_METRICS: Mapping[str, tuple[Metric, ...]] = {
    "classifier": get_args(ClassifierMetric),
    "regressor": get_args(RegressorMetric),
}
_OF_PROBABILITIES = frozenset({"log_loss", "brier"})


def refusal(policy: HoldoutPolicy, version: StagedVersion) -> str | None:
    """Why the metric that the policy names is none for the version, and which is."""
    if policy.metric is None or (why := misfit(policy.metric, version)) is None:
        return None
    others = " or ".join(each for each in _METRICS[version.spec.task] if not misfit(each, version))
    return f"{METRIC_KEY}: {why}: leave it out" + (f", or use {others}" if others else "")


def misfit(metric: Metric, version: StagedVersion) -> str | None:
    """Why a version's answers have no such loss."""
    spec, number = version.spec, version.registered.version
    if spec.targets > 1:
        return f"{metric} is of one answer a row, and version {number} gives {spec.targets}"
    if metric not in _METRICS[spec.task]:
        return f"{metric} is no loss of a {spec.task}, which version {number} is"
    if metric in _OF_PROBABILITIES and not _gives_probabilities(version):
        return f"{metric} is of probabilities, and version {number} answers labels only"
    return None


def metric_for(policy: HoldoutPolicy, *versions: StagedVersion) -> Metric:
    """The policy's, else one that all the versions, of the first one's task, have."""
    if policy.metric is not None:
        return policy.metric
    if versions[0].spec.task == "regressor":
        return "r2"
    return "log_loss" if all(map(_gives_probabilities, versions)) else "error_rate"


def losses_of(metric: Metric, holdout: Holdout, version: StagedVersion) -> Floats:
    """Loss per row of what the scorer answers, [n], by a metric that is for such answers.

    InvalidError where it is not, the scorer refuses a row, or the target is none of the version's.
    """
    if why := misfit(metric, version):
        raise InvalidError(why)
    spec = version.spec
    answers = version.client.score(holdout.values(spec))
    if spec.task == "regressor":
        predicted = answers["prediction"].astype(np.float64).reshape(-1)
        truth = target_values(holdout.truth())
        return regressor_losses(cast(RegressorMetric, metric), predicted, truth)
    classes = spec.classes or []
    labels = class_indices(holdout.truth(), classes)
    if "probabilities" in answers:
        probabilities = answers["probabilities"].astype(np.float64)
        return classifier_losses(cast(ClassifierMetric, metric), probabilities, labels)
    return np.asarray(class_indices(answers["label"].tolist(), classes) != labels, np.float64)


def scale_of(metric: Metric, holdout: Holdout) -> Floats | None:
    """What a row's loss is relative to, [n]: for `r2` how the target varies; None if to nothing.

    UnusableHoldoutError where the target does not vary.
    """
    if metric != "r2":
        return None
    scale = squared_deviations(target_values(holdout.truth()))
    if not scale.any():
        raise UnusableHoldoutError(
            f"the target is {holdout.truth()[0]} in each of {len(scale)} rows, and r2 is a share of"
            f" its variance: hold out rows that differ, or set {METRIC_KEY} to squared_error or"
            f" absolute_error, with a margin"
        )
    return scale


def _gives_probabilities(version: StagedVersion) -> bool:
    return "probabilities" in version.client.metadata.outputs

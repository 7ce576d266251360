"""What each row of a holdout costs by what a version answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.deploy_policy import ClassifierMetric, RegressorMetric
from loopwright_common.errors import InvalidError

Floats = NDArray[np.float64]
_CLIP = 1e-15


def classifier_losses(
    metric: ClassifierMetric, probabilities: Floats, truth: NDArray[np.int64]
) -> Floats:
    """Loss per row, [n]; `probabilities` is [n, classes], `truth` the index of the true class, [n].

    `log_loss` is in nats, of probabilities of at least 1e-15. `brier` is the squared error of the
    second class where there are two, else summed over all (Brier, 1950).
    """
    rows = np.arange(len(truth))
    if metric == "log_loss":
        return np.asarray(
            -np.log(np.clip(probabilities[rows, truth], _CLIP, 1.0)), dtype=np.float64
        )
    if metric == "error_rate":
        return np.asarray(probabilities.argmax(axis=1) != truth, dtype=np.float64)
    if probabilities.shape[1] == 2:
        return np.asarray(np.square(probabilities[:, 1] - truth), dtype=np.float64)
    target = np.zeros_like(probabilities)
    target[rows, truth] = 1.0
    return np.asarray(np.square(probabilities - target).sum(axis=1), dtype=np.float64)


def regressor_losses(metric: RegressorMetric, predictions: Floats, truth: Floats) -> Floats:
    """Loss per row, [n], in the target's unit or its square; both arguments are [n].

    That of `r2` is the squared error, which becomes 1 - R2 beside `squared_deviations`.
    """
    with np.errstate(over="ignore"):  # Infinite is a loss that its reader tells of.
        errors = predictions - truth
        return np.abs(errors) if metric == "absolute_error" else np.square(errors)


def squared_deviations(truth: Floats) -> Floats:
    """Squared distance from the target's mean, [n], whose mean is the variance; 0 if constant."""
    centred = truth - truth[0]  # So that equal values differ by nothing, not by rounding.
    return np.asarray(np.square(centred - centred.mean()), dtype=np.float64)


def target_values(labels: Sequence[Any]) -> Floats:
    """The targets of a regressor, [n]; InvalidError where one is no finite number."""
    try:
        truth = np.array(labels, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidError("the target is no number, and the version is a regressor") from None
    if strange := int((~np.isfinite(truth)).sum()):
        raise InvalidError(f"the target of {strange} rows is no finite number: leave them out")
    return truth

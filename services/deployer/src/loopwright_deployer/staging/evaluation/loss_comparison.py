"""Paired losses of two versions on the same rows, compared with a margin of non-inferiority."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metric = Literal["log_loss", "brier", "error_rate", "squared_error"]
Verdict = Literal["passed", "failed", "inconclusive"]
LEAST_ROWS = 200
_RESAMPLES = 2000
_CLIP = 1e-15


@dataclass(frozen=True, slots=True)
class LossComparison:
    """Mean losses, their difference (challenger minus champion) and its upper 95 % bound."""

    verdict: Verdict
    rows: int
    challenger: float
    champion: float
    difference: float
    upper: float


def classifier_losses(metric: Metric, probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
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


def regressor_losses(predictions: Floats, truth: Floats) -> Floats:
    """Squared error per row, [n]; both arguments are [n]."""
    return np.asarray(np.square(predictions - truth), dtype=np.float64)


def compare_losses(
    challenger: Floats, champion: Floats, margin: float, *, seed: int = 0
) -> LossComparison:
    """Losses of the same rows in time order; `passed` when the upper bound is below `margin`.

    Both are [n]. Neighbouring rows resemble each other, so the bound is the 95 % quantile of the
    mean difference in 2,000 resamples of whole blocks of about sqrt(n) rows, wrapped around the end
    (circular block bootstrap; Politis and Romano, 1992). Under 200 rows are `inconclusive`.
    """
    difference = challenger - champion
    rows = len(difference)
    upper = _upper_bound(difference, seed) if rows else float("nan")
    verdict: Verdict = "passed" if upper < margin else "failed"
    if rows < LEAST_ROWS:
        verdict = "inconclusive"
    return LossComparison(
        verdict, rows, _mean(challenger), _mean(champion), _mean(difference), upper
    )


def _upper_bound(difference: Floats, seed: int) -> float:
    rows = len(difference)
    size = max(1, round(rows**0.5))
    blocks = -(-rows // size)
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, rows, size=(_RESAMPLES, blocks))
    # Circular blocks: sums of `size` rows from each start, by one cumulative sum.
    wrapped = np.concatenate([[0.0], np.cumsum(np.concatenate([difference, difference[:size]]))])
    sums = wrapped[starts + size] - wrapped[starts]
    means = sums.sum(axis=1) / (blocks * size)
    return float(np.quantile(means, 0.95))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")

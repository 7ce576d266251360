"""Losses, and how sure their difference is."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Yes = npt.NDArray[np.bool_]
_SMALLEST = 1e-15


def log_losses(yes: Yes, probability: Floats) -> Floats:
    """Log loss of each row in nats, shape `(rows,)`.

    Probabilities are kept away from 0 and 1 by 1e-15.
    """
    kept = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return -np.where(yes, np.log(kept), np.log1p(-kept))


def brier_losses(yes: Yes, probability: Floats) -> Floats:
    """Squared error of each row's probability, shape `(rows,)` (Brier, 1950)."""
    return (probability - yes) ** 2


def bootstrap_interval(
    differences: Floats, *, block: int = 500, draws: int = 2_000, level: float = 0.95
) -> tuple[float, float]:
    """Interval for the mean of a series in time order, by the moving-block bootstrap (Künsch 1989).

    `differences` is `(rows,)`. Neighbouring rows are alike, so whole blocks of `block` rows are
    drawn, with a fixed seed. It is (low, high), (nan, nan) for an empty series.
    """
    rows = len(differences)
    if rows == 0:
        return float("nan"), float("nan")
    block = min(block, rows)
    sums = np.concatenate([[0.0], np.cumsum(differences)])
    block_means = (sums[block:] - sums[:-block]) / block
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(block_means), (draws, max(rows // block, 1)))
    means = block_means[chosen].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)

"""Paired losses of two versions on the same rows, compared with a margin of non-inferiority."""

from dataclasses import dataclass
from math import ceil, inf, isfinite, log10, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
Verdict = Literal["passed", "failed", "inconclusive"]
LEAST_ROWS = 200
FEW = 30
"""Fewer rows with another loss are too few for resampling alone."""
TAIL = 0.025
"""The chance of either end of an interval of 95 %."""
_RESAMPLES, _MOST_RESAMPLES = 2000, 20_000


@dataclass(frozen=True, slots=True)
class LossComparison:
    """Mean losses, their difference (challenger minus champion) and its interval."""

    verdict: Verdict
    rows: int
    challenger: float
    champion: float
    difference: float
    lower: float
    upper: float


def compare_losses(
    challenger: Floats,
    champion: Floats,
    margin: float,
    scale: Floats | None = None,
    *,
    seed: int = 0,
    tail: float = TAIL,
) -> LossComparison:
    """`passed` when the interval of the difference is below `margin`, `failed` when it is above it.

    The losses are of the same rows in time order, [n], finite, at least one. With a `scale`, [n],
    all means are shares of its mean: for squared errors and the squared deviations of the target
    they are 1 - R2. `tail` is the chance of either end of the interval. Under 200 rows are
    `inconclusive`.
    """
    unit = 1.0 if scale is None else float(scale.mean())
    own, other = challenger / unit, champion / unit
    difference = float((own - other).mean())
    # A row's part in a ratio of means, to the first order (the delta method).
    parts = own - other - difference * (1.0 if scale is None else scale / unit)
    lower, upper = (difference + reach for reach in _reach(parts, seed, tail))
    if np.count_nonzero(own - other) < FEW:
        worst = 1.0 if _are_errors(challenger, champion) else 0.0
        sparse = _bounds_by_few(own - other, worst, tail)
        lower, upper = min(lower, sparse[0]), max(upper, sparse[1])
    verdict: Verdict = "failed" if lower > margin else "inconclusive"
    if upper < margin:
        verdict = "passed"
    if len(own) < LEAST_ROWS:
        verdict = "inconclusive"
    means = float(own.mean()), float(other.mean())
    return LossComparison(verdict, len(own), *means, difference, lower, upper)


def rows_to_tell(found: LossComparison, margin: float) -> float:
    """How many rows bring the margin out of the interval if the difference stays; may be infinite.

    An interval is narrower by the square root of the rows. Rounded up to two digits.
    """
    bound = found.upper if found.difference < margin else found.lower
    gap = abs(margin - found.difference)
    rows = found.rows * ((bound - found.difference) / gap) ** 2 if gap else inf
    if not isfinite(rows):
        return inf
    step = 10.0 ** (int(log10(max(rows, 1.0))) - 1)
    return float(ceil(rows / step) * step)


def _reach(parts: Floats, seed: int, tail: float) -> Bounds:
    """How far the interval of their mean reaches below and above it; `parts` has mean 0.

    Neighbouring rows resemble each other, so whole blocks of about sqrt(n) rows are drawn, wrapped
    around the end (circular block bootstrap; Politis and Romano, 1992). Each of the 2,000 resamples
    (more for a smaller tail, 20,000 at most) is taken in units of its own standard error, which the
    blocks in it give: that corrects for skew and for the few blocks (Götze and Künsch, 1996).
    """
    rows, largest = len(parts), float(np.abs(parts).max())
    size = max(1, round(sqrt(rows)))
    count = -(-rows // size)
    if count == 1 or not largest:
        return 0.0, 0.0
    resamples = min(_MOST_RESAMPLES, round(_RESAMPLES * TAIL / tail))
    starts = np.random.default_rng(seed).integers(0, rows, size=(resamples, count))
    # The mean of the block that starts at each row, by one cumulative sum.
    shares = parts / largest
    wrapped = np.concatenate([[0.0], np.cumsum(np.concatenate([shares, shares[:size]]))])
    blocks = (wrapped[size : size + rows] - wrapped[:rows]) / size
    drawn = blocks[starts]
    errors = drawn.std(axis=1, ddof=1)
    usable = errors > 1e-9  # Of the largest part; less is what rounding leaves of none.
    if not usable.any():
        return 0.0, 0.0
    studentized = drawn[usable].mean(axis=1) / errors[usable]
    low, high = np.quantile(studentized, (tail, 1 - tail))
    error = largest * float(blocks.std()) * sqrt(count / (count - 1))
    return -max(float(high), 0.0) * error, -min(float(low), 0.0) * error


def _bounds_by_few(difference: Floats, worst: float, tail: float) -> Bounds:
    """Bounds where few rows have another loss: more such rows may be due than were seen.

    By the score interval of how many are (Wilson, 1927), each with the largest cost seen, at least
    `worst`. No resample has what no row had: of answers that are the same on 200 rows, 1.9 % may
    differ.
    """
    rows, largest = len(difference), max(worst, float(np.abs(difference).max()))
    costs, gains = difference[difference > 0], difference[difference < 0]
    upper = largest * _score_bound(len(costs), rows, tail) + float(gains.sum()) / rows
    lower = float(costs.sum()) / rows - largest * _score_bound(len(gains), rows, tail)
    return lower, upper


def _score_bound(hits: int, rows: int, tail: float) -> float:
    """The upper bound of a share of which `hits` were seen in `rows`; it lies above by `tail`."""
    normal = NormalDist().inv_cdf(1 - tail)
    share, square = hits / rows, normal**2
    spread = normal * sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return (share + square / (2 * rows) + spread) / (1 + square / rows)


def _are_errors(*losses: Floats) -> bool:
    """Whether each row is right or wrong, 0 or 1, so that a cost not seen yet is known."""
    return all(bool(np.isin(each, (0.0, 1.0)).all()) for each in losses)

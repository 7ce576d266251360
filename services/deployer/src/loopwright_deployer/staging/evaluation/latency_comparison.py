"""Latencies of two versions that were called in turns, or of one alone, against a limit."""

from dataclasses import dataclass
from math import ceil, inf, isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["passed", "failed", "inconclusive"]
LOOKS = (50, 100, 200, 400, 800)
"""After so many calls of each version the figures are looked at; the last look is the end."""
LEAST_FOR_P95 = 100
"""With fewer calls, not even the slowest bounds the p95: 0.95^100 is 0.6 %."""
_LEAST_FOR_MEDIAN = 20
_LEAST = (_LEAST_FOR_MEDIAN, LEAST_FOR_P95)
_QUANTILES = (0.5, 0.95)
_ALPHA = 0.025
# The error is shared out evenly over the looks and the two quantiles (Bonferroni).
_TAIL = _ALPHA / (len(LOOKS) * len(_QUANTILES))
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its bounds, 0 and infinity where the calls are too few for any, and its `limit`."""

    value: float
    lower: float
    upper: float
    limit: float

    @property
    def bounded(self) -> bool:
        return isfinite(self.upper)

    @property
    def used(self) -> float:
        """The part of its limit that it takes."""
        return self.value / self.limit


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """The median and the p95 of a version: as multiples of another's, or in seconds if alone."""

    verdict: Verdict
    median: Estimate
    p95: Estimate


def compare_latencies(
    candidate: Floats,
    champion: Floats | None,
    limit: float,
    *,
    slack: float = 0.0,
    seed: int = 0,
) -> LatencyComparison:
    """`passed` when median and p95 are known to be allowed, `failed` when one is known not to be.

    Both arguments are seconds per call above 0, [n], the i-th of both taken one right after the
    other. Allowed is below `limit` times the champion's figure plus `slack` seconds; without a
    champion, below `limit` seconds. The bounds are quantiles of 2,000 resamples of pairs
    (percentile bootstrap; Efron, 1979): a pair has the same load on both sides. Over all `LOOKS`
    and both figures each side's bounds are wrong in 2.5 % at most.
    """
    calls = len(candidate)
    resampled = np.random.default_rng(seed).integers(0, calls, (_RESAMPLES, calls))
    picks = np.vstack([np.arange(calls), resampled])
    own = _quantiles(candidate[picks])
    if champion is None:
        unit, allowed = np.ones_like(own), np.full_like(own, limit)
    else:
        unit = _quantiles(champion[picks])
        allowed = limit * unit + slack
    enough = [calls >= least for least in _LEAST]
    figures = tuple(map(_estimate, own / unit, allowed / unit, enough))
    parts = tuple(map(_estimate, own / allowed, np.ones_like(own), enough))
    return LatencyComparison(_verdict(parts), *figures)


def median_and_p95(seconds: Floats) -> tuple[float, float]:
    """The least of the calls, [n], that half and that 95 % of them do not exceed."""
    median, p95 = _quantiles(seconds[None])[:, 0]
    return float(median), float(p95)


def _quantiles(samples: Floats) -> Floats:
    """Median and p95 of each sample, [2, m] of [m, n]."""
    # Sorting takes a fifth of the time of np.quantile, which selects.
    ranks = [ceil(share * samples.shape[1]) - 1 for share in _QUANTILES]
    return np.sort(samples, axis=1)[:, ranks].T


def _estimate(draws: Floats, limits: Floats, enough: bool) -> Estimate:
    """A figure by the sample itself, the first of its draws, [1 + 2000], and by the resamples."""
    lower, upper = np.quantile(draws[1:], (_TAIL, 1 - _TAIL)) if enough else (0.0, inf)
    return Estimate(float(draws[0]), float(lower), float(upper), float(limits[0]))


def _verdict(parts: tuple[Estimate, ...]) -> Verdict:
    """By parts of what is allowed."""
    if any(part.lower > 1 for part in parts):
        return "failed"
    return "passed" if all(part.upper < 1 for part in parts) else "inconclusive"

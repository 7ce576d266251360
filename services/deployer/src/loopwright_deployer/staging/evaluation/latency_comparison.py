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
    """A figure and its bounds: 0 and infinity where the calls are too few to have any."""

    value: float
    lower: float
    upper: float

    @property
    def bounded(self) -> bool:
        return isfinite(self.upper)


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """The median and the p95 of a version: as multiples of another's, or in seconds if alone."""

    verdict: Verdict
    median: Estimate
    p95: Estimate


def compare_latencies(
    candidate: Floats, champion: Floats | None, limit: float, *, seed: int = 0
) -> LatencyComparison:
    """`passed` when median and p95 are known to be below `limit`, `failed` when one is above it.

    Both arguments are seconds per call above 0, [n], the i-th of both taken one right after the
    other. The figures are ratios of the quantiles, and `limit` is one; without a champion they are
    the candidate's quantiles, and `limit` is in seconds. The bounds are quantiles of 2,000
    resamples of pairs (percentile bootstrap; Efron, 1979): a pair has the same load on both
    sides. Over all `LOOKS` and both figures each side's bounds are wrong in 2.5 % at most.
    """
    resampled = _resample(candidate, champion, seed)
    calls, values = len(candidate), _quantiles(candidate[None])[:, 0]
    if champion is not None:
        values = values / _quantiles(champion[None])[:, 0]
    median, p95 = (
        _bounded(float(value), draws, calls >= least)
        for value, draws, least in zip(values, resampled, _LEAST, strict=True)
    )
    return LatencyComparison(_verdict((median, p95), limit), median, p95)


def median_and_p95(seconds: Floats) -> tuple[float, float]:
    """The least of the calls, [n], that half and that 95 % of them do not exceed."""
    median, p95 = _quantiles(seconds[None])[:, 0]
    return float(median), float(p95)


def _resample(candidate: Floats, champion: Floats | None, seed: int) -> Floats:
    """The figures in each resample, [2, 2000]."""
    calls = len(candidate)
    picks = np.random.default_rng(seed).integers(0, calls, size=(_RESAMPLES, calls))
    own = _quantiles(candidate[picks])
    return own if champion is None else own / _quantiles(champion[picks])


def _quantiles(samples: Floats) -> Floats:
    """Median and p95 of each sample, [2, m] of [m, n]."""
    # Sorting takes a fifth of the time of np.quantile, which selects.
    ranks = [ceil(share * samples.shape[1]) - 1 for share in _QUANTILES]
    return np.sort(samples, axis=1)[:, ranks].T


def _bounded(value: float, draws: Floats, enough: bool) -> Estimate:
    if not enough:
        return Estimate(value, 0.0, inf)
    lower, upper = np.quantile(draws, (_TAIL, 1 - _TAIL))
    return Estimate(value, float(lower), float(upper))


def _verdict(figures: tuple[Estimate, ...], limit: float) -> Verdict:
    if any(figure.lower > limit for figure in figures):
        return "failed"
    return "passed" if all(figure.upper < limit for figure in figures) else "inconclusive"

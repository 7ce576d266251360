"""What is held against a feature, how much of it is told, and in which words."""

import math
from dataclasses import dataclass

import numpy as np

from loopwright_monitor.detectors.profile import Floats, Indicator, IndicatorKind


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """What is held against one feature: `evidence` is the natural log of its e-value.

    `before` and `after` are shares of rows (or mean losses), the latter since the row `since_row`
    of the model, which came at `since_time` (microseconds since 1970; None where rows have none).
    A detector without e-values gives an evidence of 0.
    """

    name: str
    evidence: float
    before: float
    after: float
    sentence: str
    since_row: int
    since_time: int | None

    @property
    def change(self) -> float:
        """How much the indicator's mean moved, in the indicator's unit: `after` less `before`."""
        return self.after - self.before


def discoveries(ranked: list[float], log_threshold: float) -> int:
    """How many of the log e-values, ranked from the largest on, e-d-BH discovers.

    Of F streams the k largest are discoveries for the largest k with M(k) >= F / (k * alpha)
    (Dandapanthula and Ramdas, arXiv 2501.04130); at least one is, for the alarm itself.
    """
    count = len(ranked)
    enough = [
        k for k in range(1, count + 1) if ranked[k - 1] >= log_threshold + math.log(count / k)
    ]
    return max(enough, default=1)


def log_mean(values: Floats) -> float:
    """Log of the mean of values [n] given as logs; all natural."""
    return float(np.logaddexp.reduce(values)) - math.log(len(values))


_WORDS: dict[IndicatorKind, str] = {
    "other": " in rare levels",
    "broken": " not a finite number",
    "unseen": " with an unseen level",
    "missing": " missing",
}


def sentence_of(name: str, indicator: Indicator, after: float) -> str:
    """What changed, from what to what."""
    return f"{name}{_described(indicator)} {_percent(indicator.share)} -> {_percent(after)}"


def _described(indicator: Indicator) -> str:
    if indicator.what == "cut":
        return f" <= {indicator.value:g}"
    if indicator.what == "level":
        return f"={indicator.value}"
    if indicator.what in ("below", "above"):
        return f" {indicator.what} {indicator.value:g}"
    return _WORDS[indicator.what]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"

"""Cuts the stream into periods and measures each: what was served, beside version 1."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from loopwright.demo.client.served_rows import ServedRows
from loopwright.demo.story.statistics import bootstrap_interval, brier_losses, log_losses

_ITSELF = 0.9
"""Share of a period's rows that version 1 answered for it to be its own; the rest is canary."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over rows: losses, and the share of yes that was expected."""

    log_loss: float
    brier: float
    expected_yes: float


@dataclass(frozen=True, slots=True)
class Period:
    """Measures of rows `start` to `stop` of the stream, who answered them, and how well."""

    name: str
    start: int
    stop: int
    answered_by: dict[int, int]
    actual_yes: float
    served: Quality
    frozen: Quality
    gain: tuple[float, float]
    """95 % interval of version 1's log loss minus that of what was served."""

    @property
    def verdict(self) -> str:
        """Whether serving newer versions helped, in a word or two."""
        if self.answered_by.get(1, 0) > _ITSELF * (self.stop - self.start):
            return "version 1 itself"
        low, high = self.gain
        if low > 0:
            return "better"
        return "worse: did not help" if high < 0 else "no clear difference: did not help"


def period(name: str, served: ServedRows, start: int, stop: int) -> Period:
    """Measure rows `start` to `stop`, which must not be empty."""
    rows = slice(start, stop)
    yes, probability = served.yes[rows], served.probability[rows]
    frozen = served.frozen_probability[rows]
    gain = log_losses(yes, frozen) - log_losses(yes, probability)
    return Period(
        name=name,
        start=start,
        stop=stop,
        answered_by=dict(sorted(Counter(served.version[rows].tolist()).items())),
        actual_yes=float(yes.mean()),
        served=_quality(yes, probability),
        frozen=_quality(yes, frozen),
        gain=bootstrap_interval(gain),
    )


def by_rows(served: ServedRows, every: int = 4_000) -> list[Period]:
    """Periods of fixed length, a short rest joins the last one; then all of them together."""
    rows = len(served.yes)
    edges = [*range(0, max(rows - every // 2, 1), every), rows]
    parts = [period(f"{start:,}-{stop:,}", served, start, stop) for start, stop in pairwise(edges)]
    return [*parts, period("the whole stream", served, 0, rows)]


def by_champion(served: ServedRows, promotions: Sequence[tuple[int, int]]) -> list[Period]:
    """One period per champion, from `(version, first row)` in order; empty ones are left out."""
    starts = [row for _, row in promotions]
    stops = [*starts[1:], len(served.yes)]
    return [
        period(f"version {version}", served, start, stop)
        for (version, start), stop in zip(promotions, stops, strict=True)
        if stop > start
    ]


def _quality(yes: np.ndarray, probability: np.ndarray) -> Quality:
    return Quality(
        float(log_losses(yes, probability).mean()),
        float(brier_losses(yes, probability).mean()),
        float(probability.mean()),
    )

"""How a version compares with the champion among the rows of one category, or one range."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.wording import counted
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout
from loopwright_deployer.staging.evaluation.loss_comparison import (
    LEAST_ROWS,
    TAIL,
    Floats,
    LossComparison,
    compare_losses,
)

SLICES_KEY = "deploy.staging.holdout.slices"
MOST_CATEGORIES = 20
"""Of a column; its rarer values are not compared."""
_FEW_NUMBERS = 10
"""A column of so few different numbers has categories and no ranges."""
_QUARTILES = (0.25, 0.5, 0.75)
_MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows, [n], in which a column has a value, or lies in a range."""

    column: str
    value: str
    rows: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """What the losses of its rows say, with `confidence` that of the interval."""

    column: str
    value: str
    confidence: float
    found: LossComparison

    def as_row(self) -> dict[str, Any]:
        """The slice as the report of staging has it."""
        found = self.found
        return {
            "column": self.column,
            "value": self.value,
            "rows": found.rows,
            "candidate": found.challenger,
            "champion": found.champion,
            "difference": found.difference,
            "low": found.lower,
            "high": found.upper,
            "confidence": self.confidence,
            "verdict": found.verdict,
        }


def slices_refusal(policy: HoldoutPolicy, holdout: Holdout) -> str | None:
    """Why the holdout has no such slices, by the key that asks for them."""
    if lacking := [name for name in policy.slices if name not in holdout.columns]:
        has = ", ".join(holdout.columns)
        return f"{SLICES_KEY}: the holdout dataset has no column {', '.join(lacking)}: it has {has}"
    for name in policy.slices:
        if any(isinstance(value, list | dict) for value in holdout.columns[name]):
            return f"{SLICES_KEY}: {name} has neither categories nor numbers: leave it out"
    return None


def slices_of(holdout: Holdout, columns: Sequence[str]) -> list[Slice]:
    """The slices that have 200 rows or more, by column and then by size or range."""
    found = [
        Slice(name, value, rows)
        for name in columns
        for value, rows in _values(holdout.columns[name])
    ]
    return [each for each in found if each.rows.sum() >= LEAST_ROWS]


def compare_slices(
    slices: Sequence[Slice],
    challenger: Floats,
    champion: Floats,
    margin: float,
    scale: Floats | None = None,
) -> list[SliceComparison]:
    """One comparison a slice, as `compare_losses` makes it of all rows.

    Each interval is so wide that all of k together fail by mistake no more often than one: its
    tails have a k-th part of the chance (Bonferroni; Dunn, 1961). The losses are shares of the mean
    of the `scale` over all rows, not over those of the slice, where the target may hardly vary.
    """
    unit, tail = 1.0 if scale is None else float(scale.mean()), TAIL / max(len(slices), 1)
    own, other = challenger / unit, champion / unit
    return [
        SliceComparison(
            each.column,
            each.value,
            1 - 2 * tail,
            compare_losses(own[each.rows], other[each.rows], margin, tail=tail),
        )
        for each in slices
    ]


def told(compared: Sequence[SliceComparison], figure: Callable[[float], str]) -> str:
    """The slices as the end of a sentence: those known to be worse, and how many others."""
    if not compared:
        return f"; no slice has {LEAST_ROWS} rows"
    counts = Counter(each.found.verdict for each in compared)
    worse = [
        f"; worse by more than the margin where {each.column} is {each.value}: by"
        f" {figure(each.found.difference)}, from {figure(each.found.lower)} to"
        f" {figure(each.found.upper)} on {each.found.rows} rows"
        for each in compared
        if each.found.verdict == "failed"
    ]
    share = f"{100 * compared[0].confidence:.4g} % confidence each"
    return (
        f"{''.join(worse)}; of {counted(len(compared), 'slice')} {counts['passed']} known to be no"
        f" worse, {counts['inconclusive']} not clear, {counts['failed']} worse ({share})"
    )


def _values(cells: Sequence[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    plain = [None if isinstance(cell, float) and isnan(cell) else cell for cell in cells]
    present = [cell for cell in plain if cell is not None]
    missing = np.array([cell is None for cell in plain], dtype=np.bool_)
    if _are_numbers(present) and len(set(present)) > _FEW_NUMBERS:
        numbers = np.array([np.nan if cell is None else cell for cell in plain], dtype=np.float64)
        found = _ranges(numbers)
    else:
        texts = np.array([str(cell) for cell in plain], dtype=np.object_)
        common = Counter(map(str, present)).most_common(MOST_CATEGORIES)
        found = [(value, np.asarray((texts == value) & ~missing)) for value, _ in common]
    return [*found, (_MISSING, missing)]


def _are_numbers(cells: Sequence[Any]) -> bool:
    return all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)


def _ranges(numbers: Floats) -> list[tuple[str, NDArray[np.bool_]]]:
    """By the quartiles of those that are there; fewer than four where many are equal."""
    edges = [float(edge) for edge in np.unique(np.nanquantile(numbers, _QUARTILES, method="lower"))]
    inner = [
        (f"above {low:g} to {high:g}", (numbers > low) & (numbers <= high))
        for low, high in pairwise(edges)
    ]
    first = (f"up to {edges[0]:g}", numbers <= edges[0])
    return [first, *inner, (f"above {edges[-1]:g}", numbers > edges[-1])]

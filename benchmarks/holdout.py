"""`python -m benchmarks.holdout`: how often the holdout's verdict errs, and how often it is clear.

The true difference of two losses is the margin exactly, so that both `passed` and `failed` are
mistakes. Beside it the same rows are judged by the interval that most would take: the 95 %
quantiles of the mean over resampled blocks (percentile bootstrap).
"""

import argparse
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import ndtr
from scipy.stats import t as student

from loopwright_deployer.staging.evaluation.loss_comparison import compare_losses

Floats = npt.NDArray[np.float64]
ROWS = (200, 500, 2000)
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
_ROOT_E = float(np.exp(0.5))
SHAPES: Mapping[str, Callable[[Floats], Floats]] = {
    "normal": lambda normal: normal,
    "Student's t, 3 degrees": lambda normal: np.asarray(student.ppf(ndtr(normal), 3)),
    "exponential": lambda normal: -np.log(ndtr(-normal)) - 1.0,
    "lognormal": lambda normal: np.exp(normal) - _ROOT_E,
    "rare: 1 row in 100": lambda normal: (ndtr(normal) < 0.01) - 0.01,
}
"""Differences of mean 0, of rows that a standard normal variable is of."""


def correlated(draw: np.random.Generator, rows: int, by: float) -> Floats:
    """Standard normal variables, each correlated with the one before (AR(1))."""
    weights = by ** np.arange(120) * (1 - by * by) ** 0.5
    return np.asarray(np.convolve(draw.standard_normal(rows + 119), weights, "valid"))


def percentile_bounds(difference: Floats, draw: np.random.Generator) -> tuple[float, float]:
    """The interval that most would take, with tails of 2.5 %."""
    rows, size = len(difference), round(len(difference) ** 0.5)
    starts = draw.integers(0, rows, size=(1000, -(-rows // size)))
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([difference, difference[:size]]))])
    means = (sums[starts + size] - sums[starts]).mean(axis=1) / size
    lower, upper = np.quantile(means, (0.025, 0.975))
    return float(lower), float(upper)


def shares(shape: str, rows: int, correlation: float, draws: int) -> tuple[float, ...]:
    """Shares of draws that pass and fail by the check, and that pass and fail by percentiles."""
    counted = np.zeros(4)
    for seed in range(draws):
        draw = np.random.default_rng(seed)
        difference = SHAPES[shape](correlated(draw, rows, correlation))
        # A loss of right and wrong is 0 or 1 in each row; its margin is then the share of wrong.
        rare = shape.startswith("rare")
        losses, margin = (np.round(difference + 0.01), 0.01) if rare else (difference, 0.0)
        verdict = compare_losses(losses, np.zeros(rows), margin, seed=seed).verdict
        lower, upper = percentile_bounds(difference, draw)
        counted += verdict == "passed", verdict == "failed", upper < 0, lower > 0
    return tuple(counted / draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    table = Table(title=f"% of {draws} draws on the margin: passed / failed (percentile bootstrap)")
    for title in ("difference of a row", "rows", *(f"correlation {c:g}" for c in CORRELATIONS)):
        table.add_column(title)
    for shape, rows in track([(shape, rows) for shape in SHAPES for rows in ROWS]):
        found = [shares(shape, rows, correlation, draws) for correlation in CORRELATIONS]
        cells = ("{:.1f} / {:.1f} ({:.1f} / {:.1f})".format(*(100 * s for s in f)) for f in found)
        table.add_row(shape, str(rows), *cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()

"""How far the answers of two versions to the same rows agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.staging.evaluation.holdout_rows import plain_label
from loopwright_deployer.staging.evaluation.latency_comparison import median_and_p95

Floats = NDArray[np.float64]
Outputs = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures over `rows`, each None where the versions answer nothing of the kind.

    `labels` is the share of rows with the same label (all labels, where there are several),
    `probabilities` the mean absolute difference of a class's probability. Of predictions there are
    the `median` and the `p95` of the absolute difference, in standard deviations of the champion's
    predictions (in the predictions' unit where `spread` is None, since those are all the same); of
    several targets the largest counts.
    """

    rows: int
    labels: float | None = None
    probabilities: float | None = None
    median: float | None = None
    p95: float | None = None
    spread: float | None = None
    distances: Floats = field(default_factory=lambda: np.zeros(0))
    """How far apart the answers to each row are, [rows]; 0 where they are the same."""


def agreement(
    own: Outputs, other: Outputs, candidate: ServingSpec, champion: ServingSpec
) -> Agreement:
    """What the candidate answers against the champion, row by row; both by output name.

    No figures where the one is a classifier and the other a regressor, or targets differ.
    """
    rows = len(next(iter(own.values()), []))
    comparable = (candidate.task, candidate.targets) == (champion.task, champion.targets)
    if not comparable or not rows:
        return Agreement(rows, distances=np.zeros(rows))
    if candidate.task == "regressor":
        return _of_predictions(_matrix(own["prediction"]), _matrix(other["prediction"]))
    same = np.array(
        [_plain(one) == _plain(two) for one, two in zip(own["label"], other["label"], strict=True)]
    )
    distances = np.asarray(~same, dtype=np.float64)
    apart = _probabilities_apart(own, other, candidate, champion)
    if apart is None:
        return Agreement(rows, labels=float(same.mean()), distances=distances)
    return Agreement(
        rows, labels=float(same.mean()), probabilities=float(apart.mean()),
        distances=distances + apart,
    )  # fmt: skip


def worst_rows(found: Agreement, limit: int) -> list[int]:
    """The rows whose answers are farthest apart, at most `limit`, without those that agree."""
    order = np.argsort(-found.distances, kind="stable")[:limit]
    return [int(row) for row in order if found.distances[row] > 0]


def _of_predictions(own: Floats, other: Floats) -> Agreement:
    if own.shape != other.shape:
        return Agreement(len(own), distances=np.zeros(len(own)))
    spreads = other.std(axis=0)
    spread = float(spreads.max())
    units = np.where(spreads > 0, spreads, 1.0)
    distances = np.asarray((np.abs(own - other) / units).max(axis=1), dtype=np.float64)
    median, p95 = median_and_p95(distances)
    return Agreement(len(own), median=median, p95=p95, spread=spread or None, distances=distances)


def _probabilities_apart(
    own: Outputs, other: Outputs, candidate: ServingSpec, champion: ServingSpec
) -> Floats | None:
    """Each row's mean absolute difference over the classes, [rows]; None without the same ones."""
    if candidate.targets > 1 or not ("probabilities" in own and "probabilities" in other):
        return None
    classes, others = (
        [_plain(one) for one in spec.classes or ()] for spec in (candidate, champion)
    )
    if sorted(classes) != sorted(others):
        return None
    mine, theirs = _matrix(own["probabilities"]), _matrix(other["probabilities"])
    order = [classes.index(each) for each in others] or slice(None)
    mine = mine[:, order]
    if mine.shape != theirs.shape:
        return None
    return np.asarray(np.abs(mine - theirs).mean(axis=1), dtype=np.float64)


def _matrix(values: Sequence[Any]) -> Floats:
    """Rows of figures as [rows, k]."""
    return np.array(values, dtype=np.float64).reshape(len(values), -1)


def _plain(label: Any) -> Any:
    """Comparable: 1, 1.0, True and "1" are the same label; of several targets a list."""
    return [plain_label(each) for each in label] if isinstance(label, list) else plain_label(label)

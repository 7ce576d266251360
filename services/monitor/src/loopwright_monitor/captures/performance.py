"""Realised performance of a version over the labels that came, by river's metrics."""

import asyncio
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
_LEAST = 1e-15


async def preload() -> None:
    """Import, beside the event loop, what measuring needs: it takes seconds the first time."""
    for name in ("river.metrics", "river.drift"):
        await asyncio.to_thread(import_module, name)


@dataclass(frozen=True, slots=True)
class LabelledScore:
    """A prediction and the label that came for it (both as JSON text)."""

    score: float
    predicted: str | None
    label: str


@dataclass(frozen=True, slots=True)
class Performance:
    """Cumulative sums over `labelled` rows; of a multi-class version only hits and confidence.

    `loss_sum` adds log loss (binary), errors (multi-class) or squared errors (regression).
    """

    task: Task
    labelled: int = 0
    loss_sum: float = 0.0
    brier_sum: float = 0.0
    label_sum: float = 0.0
    score_sum: float = 0.0

    def plus(
        self, rows: Iterable[LabelledScore], positive: str | None, sign: int = 1
    ) -> "Performance":
        """With the rows learnt, or forgotten for sign -1 (their labels were corrected)."""
        truths = [
            (truth, row.score) for row in rows if (truth := self._truth(row, positive)) is not None
        ]
        if not truths:
            return self
        losses, briers = _losses(self.task, truths)
        return Performance(
            self.task,
            self.labelled + sign * len(truths),
            self.loss_sum + sign * losses,
            self.brier_sum + sign * briers,
            self.label_sum + sign * sum(truth for truth, _ in truths),
            self.score_sum + sign * sum(score for _, score in truths),
        )

    def losses(self, rows: Iterable[LabelledScore], positive: str | None) -> list[float]:
        """What each row adds to `loss_sum`, in order; rows that cannot be compared are left out."""
        truths = [(self._truth(row, positive), row.score) for row in rows]
        return [_loss(self.task, truth, score) for truth, score in truths if truth is not None]

    def mean(self, total: float) -> float | None:
        """A sum as a mean over the labelled rows; None before the first."""
        return total / self.labelled if self.labelled else None

    @property
    def log_loss(self) -> float | None:
        """Mean log loss in nats, of a binary version only (as `river.metrics.LogLoss`)."""
        return self.mean(self.loss_sum) if self.task == "binary" else None

    @property
    def brier(self) -> float | None:
        """Mean squared distance of score and truth, of a binary version only (Brier, 1950)."""
        return self.mean(self.brier_sum) if self.task == "binary" else None

    def _truth(self, row: LabelledScore, positive: str | None) -> float | None:
        """What the score should have been; None for a label that cannot be compared."""
        if self.task == "regression":
            value = json.loads(row.label)
            return float(value) if isinstance(value, int | float) else None
        if row.predicted is None and positive is None:
            return None
        if self.task == "binary" and positive is not None:
            return float(same_label(row.label, positive))
        hit = same_label(row.label, row.predicted)
        # Without the classes, the side a score fell on tells which of the two was predicted.
        return float(hit == (row.score > 0.5)) if self.task == "binary" else float(hit)


LOSS_NAMES: Mapping[Task, str] = {
    "binary": "log loss",
    "multiclass": "error rate",
    "regression": "squared error",
}


def same_label(one: str, other: str | None) -> bool:
    """Labels in JSON compared by what they say: `1`, `1.0` and `"1"` are one label."""
    return other is not None and as_plain_text(json.loads(one)) == as_plain_text(json.loads(other))


def as_plain_text(label: object) -> str:
    """A label as plain text."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _loss(task: Task, truth: float, score: float) -> float:
    """One row's part of `loss_sum`, without the cost of a metric object for each."""
    if task == "multiclass":
        return 1.0 - truth
    if task == "regression":
        return (truth - score) ** 2
    right = score if truth > 0.5 else 1.0 - score
    return -math.log(min(max(right, _LEAST), 1.0 - _LEAST))


def _losses(task: Task, truths: list[tuple[float, float]]) -> tuple[float, float]:
    from river import metrics

    count = len(truths)
    if task == "multiclass":
        return count - sum(truth for truth, _ in truths), 0.0
    squared = metrics.MSE()
    log_loss = metrics.LogLoss()
    for truth, score in truths:
        squared.update(truth, score)
        if task == "binary":
            log_loss.update(truth > 0.5, score)
    if task == "regression":
        return squared.get() * count, 0.0
    return log_loss.get() * count, squared.get() * count

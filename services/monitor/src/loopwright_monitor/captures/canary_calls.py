"""How many calls of a canary were wrong, by the labels of their rows; pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from loopwright_common.events import LabelledCalls, LabelledStep
from loopwright_monitor.captures.label_repository import PredictionRecord
from loopwright_monitor.captures.performance import same_label

LEAST_ERRORS = 100
"""Labelled rows without which it is not known what error is usual for a regressor."""
_USUAL = 0.9


def count_step(
    rows: Sequence[PredictionRecord], version: int, wrong_above: float | None
) -> LabelledStep:
    """The labelled calls in the rows of one step, which are in the order of their time.

    Until the canary's first call it had no share yet, so nothing from before that is compared.
    """
    begin = next((at for at, row in enumerate(rows) if row.version == version), len(rows))
    shared = rows[begin:]
    return LabelledStep(
        canary=_count((row for row in shared if row.version == version), wrong_above),
        champion=_count((row for row in shared if row.version != version), wrong_above),
    )


def usual_error(rows: Iterable[PredictionRecord]) -> float | None:
    """The absolute error that nine in ten rows of a regressor do not exceed; None for too few."""
    errors = [error for row in rows if (error := _error(row)) is not None]
    if len(errors) < LEAST_ERRORS:
        return None
    return float(np.quantile(errors, _USUAL, method="higher"))


def _count(rows: Iterable[PredictionRecord], wrong_above: float | None) -> LabelledCalls:
    """A call of several rows is one call, wrong by the share of its labelled rows that are."""
    calls: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        wrong = _is_wrong(row, wrong_above)
        if wrong is not None:
            calls[row.prediction_id.rpartition(".")[0]].append(wrong)
    wrong_calls = sum(sum(call) / len(call) for call in calls.values())
    return LabelledCalls(calls=len(calls), wrong=wrong_calls)


def _is_wrong(row: PredictionRecord, wrong_above: float | None) -> bool | None:
    """None without a label, and for one that cannot be compared."""
    if row.label is None:
        return None
    if row.task == "regression":
        error = _error(row)
        return None if error is None or wrong_above is None else error > wrong_above
    return None if row.predicted is None else not same_label(row.label, row.predicted)


def _error(row: PredictionRecord) -> float | None:
    if row.task != "regression" or row.label is None or row.score is None:
        return None
    label = json.loads(row.label)
    if isinstance(label, bool) or not isinstance(label, int | float):
        return None
    error = abs(label - row.score)
    return error if np.isfinite(error) else None

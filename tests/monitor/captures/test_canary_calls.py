"""Which calls of a canary are wrong, by the labels of their rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loopwright_common.database import Cause
from loopwright_common.events import CanaryPeriod
from loopwright_monitor.captures.canary_calls import LEAST_ERRORS, count_step, usual_error
from loopwright_monitor.captures.canary_repository import PromotedCanary
from loopwright_monitor.captures.label_repository import PredictionRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, version: int = 2, **changes: Any) -> PredictionRecord:
    fields: dict[str, Any] = {
        "prediction_id": f"p{number}.0",
        "request_id": None,
        "version": version,
        "time": START + timedelta(seconds=number),
        "score": 0.2,
        "predicted": '"no"',
        "task": "binary",
        "label": '"no"',
    }
    return PredictionRecord(**{**fields, **changes})


def figure(number: int, score: float, label: str | None, version: int = 2) -> PredictionRecord:
    return row(number, version, score=score, predicted=None, task="regression", label=label)


def counted(*rows: PredictionRecord, wrong_above: float | None = None) -> tuple[int, float]:
    """The canary's calls, and how many were wrong."""
    step = count_step(rows, 2, wrong_above)
    return step.canary.calls, step.canary.wrong


@pytest.mark.parametrize(
    ("predicted", "label", "wrong"),
    [('"no"', '"no"', 0), ('"no"', '"yes"', 1), ("1", '"1"', 0), ("1", "1.0", 0), ("1", "0", 1)],
)
def test_a_label_that_says_something_else_than_was_predicted_is_wrong(
    predicted: str, label: str, wrong: int
) -> None:
    assert counted(row(0, predicted=predicted, label=label)) == (1, wrong)


def test_rows_without_a_label_or_a_prediction_are_no_calls() -> None:
    assert counted(row(0, label=None), row(1, predicted=None)) == (0, 0)


def test_rows_of_both_versions_are_told_apart() -> None:
    step = count_step([row(0), row(1, version=1, label='"yes"'), row(2, version=1)], 2, None)

    assert (step.canary.calls, step.canary.wrong) == (1, 0)
    assert (step.champion.calls, step.champion.wrong) == (2, 1)


def test_a_regressor_is_wrong_by_more_than_the_champion_usually_was() -> None:
    rows = [figure(0, 10.0, "12"), figure(1, 10.0, "12.1"), figure(2, 10.0, '"much"')]

    assert counted(*rows, wrong_above=2.0) == (2, 1)
    assert counted(*rows) == (0, 0)


def test_the_usual_error_is_what_nine_in_ten_rows_do_not_exceed() -> None:
    rows = [figure(number, 0.0, str(-number)) for number in range(1, 101)]

    usual = usual_error(rows)

    assert usual is not None
    assert 90 <= usual <= 91
    assert counted(*rows, wrong_above=usual)[1] == pytest.approx(10, abs=1)


def test_of_too_few_rows_no_error_is_usual() -> None:
    rows = [figure(number, 0.0, "1") for number in range(LEAST_ERRORS - 1)]

    assert usual_error([*rows, row(LEAST_ERRORS), figure(-1, 0.0, None)]) is None
    assert usual_error([*rows, figure(-1, float("inf"), "1")]) is None
    assert usual_error([*rows, figure(-1, 0.0, "1")]) == 1.0


def test_labels_of_before_the_canary_concern_it_until_it_is_known_what_error_is_usual() -> None:
    period = CanaryPeriod(begin=START, end=START + timedelta(seconds=10))
    canary = PromotedCanary(
        deployment_id="d", environment="production", model_id="m", model="churn", version=2,
        previous=1, periods=(period,), until=START + timedelta(days=1), cause=Cause("c", (), ""),
    )  # fmt: skip
    before, of_it = figure(-5, 1.0, "1", version=1), figure(5, 1.0, "1", version=1)
    others = row(-5, version=1), figure(-5, 1.0, "1")

    assert [canary.concerns(each) for each in (before, of_it, *others)] == [
        True,
        True,
        False,
        False,
    ]
    known = replace(canary, wrong_above=1.0)
    assert [known.concerns(each) for each in (before, of_it)] == [False, True]

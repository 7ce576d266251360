"""Losses as the textbook has them, and an interval that is honest about dependent rows."""

import numpy as np
import pytest

from loopwright.demo.story.statistics import bootstrap_interval, brier_losses, log_losses

YES = np.array([True, False, True])


def test_log_loss_is_the_negative_log_of_what_happened() -> None:
    losses = log_losses(YES, np.array([0.5, 0.25, 1.0]))
    assert losses == pytest.approx([np.log(2), -np.log(0.75), 0.0], abs=1e-12)


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert np.isfinite(log_losses(YES, np.array([0.0, 1.0, 0.0]))).all()


def test_brier_is_the_squared_distance() -> None:
    assert brier_losses(YES, np.array([0.5, 0.25, 1.0])) == pytest.approx([0.25, 0.0625, 0.0])


def test_the_interval_holds_the_mean_and_narrows_with_rows() -> None:
    random = np.random.default_rng(1)
    few, many = (random.normal(0.1, 1, rows) for rows in (2_000, 50_000))
    low, high = bootstrap_interval(few)
    assert low < few.mean() < high
    assert np.ptp(bootstrap_interval(many)) < high - low


def test_rows_that_move_together_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    alone = random.normal(0, 1, 10_000)
    together = np.repeat(random.normal(0, 1, 100), 100)
    assert np.ptp(bootstrap_interval(together)) > 3 * np.ptp(bootstrap_interval(alone))


def test_no_rows_give_no_interval_and_few_rows_one_block() -> None:
    assert np.isnan(bootstrap_interval(np.array([]))).all()
    assert bootstrap_interval(np.array([0.25, 0.25])) == pytest.approx((0.25, 0.25))

"""Concept drift: silent while losses only scatter, told when they rise, the same on every path."""

import numpy as np
import numpy.typing as npt
import pytest

from loopwright_monitor.detectors.adwin_losses import MAX_BLOCKS, LossHistory


def log_losses(rows: int, seed: int, wrong: float = 0.1) -> npt.NDArray[np.float64]:
    """Losses of a model that gives 0.9 to what happens in all but `wrong` of the rows."""
    missed = np.random.default_rng(seed).random(rows) < wrong
    losses: npt.NDArray[np.float64] = np.where(missed, -np.log(0.1), -np.log(0.9))
    return losses


@pytest.mark.parametrize("seed", range(4))
def test_losses_that_only_scatter_raise_no_alarm(seed: int) -> None:
    assert LossHistory().learn(log_losses(50_000, seed).tolist()) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_rise_is_told_once_with_where_it_began(seed: int) -> None:
    stream = np.concatenate([log_losses(6000, seed), log_losses(3000, seed + 9, wrong=0.2)])
    losses = LossHistory()

    risen = losses.learn(stream.tolist())

    assert risen is not None
    assert risen.since_row == pytest.approx(6000, abs=300)
    assert risen.before == pytest.approx(0.33, abs=0.05)
    assert risen.after == pytest.approx(0.55, abs=0.08)
    assert losses.learn(log_losses(5000, seed, wrong=0.5).tolist()) is None


def test_a_fall_is_no_drift() -> None:
    stream = np.concatenate([log_losses(6000, 1), log_losses(6000, 2, wrong=0.01)])
    assert LossHistory().learn(stream.tolist()) is None


def test_batches_and_restarts_change_neither_state_nor_what_is_told() -> None:
    stream = np.concatenate([log_losses(5000, 1), log_losses(3000, 2, wrong=0.25)]).tolist()
    found = set()
    for step in (1000, 37, 8000):
        losses, told = LossHistory(), []
        for start in range(0, len(stream), step):
            losses = LossHistory.from_json(losses.to_json())
            told.append(losses.learn(stream[start : start + step]))
        found.add((losses.to_json(), *(risen for risen in told if risen)))
    assert len(found) == 1


def test_the_state_is_bounded() -> None:
    losses = LossHistory()
    losses.learn(log_losses(80_000, 1).tolist())
    assert len(losses.window) < MAX_BLOCKS

import numpy as np
import pytest

from loopwright_deployer.staging.evaluation.loss_comparison import classifier_losses, compare_losses


def losses(seed: int, shift: float = 0.0, rows: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Losses of one version and of another that is `shift` worse, noisy in runs of like rows."""
    draw = np.random.default_rng(seed)
    champion = draw.gamma(1.0, 0.4, rows)
    drift = np.convolve(draw.normal(0, 0.05, rows + 19), np.ones(20) / 20, "valid")
    return champion + drift + shift, champion


def test_as_good_passes_and_clearly_worse_fails() -> None:
    assert compare_losses(*losses(1), margin=0.01).verdict == "passed"
    assert compare_losses(*losses(1, shift=0.05), margin=0.01).verdict == "failed"


def test_worse_by_the_margin_is_rarely_let_through() -> None:
    passed = sum(
        compare_losses(*losses(seed, shift=0.01), margin=0.01, seed=seed).verdict == "passed"
        for seed in range(100)
    )

    assert passed <= 10


def test_few_rows_are_inconclusive() -> None:
    assert compare_losses(*losses(1, rows=199), margin=0.01).verdict == "inconclusive"


def test_the_same_rows_give_the_same_bound() -> None:
    assert compare_losses(*losses(3), margin=0.01) == compare_losses(*losses(3), margin=0.01)


def test_losses_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.5, 0.5]])
    truth = np.array([0, 1])

    log_loss = classifier_losses("log_loss", probabilities, truth)
    assert log_loss == pytest.approx([0.2231, 0.6931], abs=1e-4)
    assert classifier_losses("brier", probabilities, truth) == pytest.approx([0.04, 0.25])
    assert classifier_losses("error_rate", probabilities, truth) == pytest.approx([0, 1])

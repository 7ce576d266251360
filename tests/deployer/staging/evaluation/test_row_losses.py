import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_deployer.staging.evaluation.row_losses import (
    classifier_losses,
    regressor_losses,
    squared_deviations,
    target_values,
)


def test_losses_of_classifiers_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.5, 0.5]])
    truth = np.array([0, 1])

    log_loss = classifier_losses("log_loss", probabilities, truth)
    assert log_loss == pytest.approx([0.2231, 0.6931], abs=1e-4)
    assert classifier_losses("brier", probabilities, truth) == pytest.approx([0.04, 0.25])
    assert classifier_losses("error_rate", probabilities, truth) == pytest.approx([0, 1])


def test_the_brier_score_of_more_classes_is_summed_over_them() -> None:
    losses = classifier_losses("brier", np.array([[0.5, 0.3, 0.2]]), np.array([1]))

    assert losses == pytest.approx([0.25 + 0.49 + 0.04])


def test_losses_of_regressors_by_hand() -> None:
    predictions, truth = np.array([1.0, 5.0]), np.array([3.0, 4.0])

    assert regressor_losses("squared_error", predictions, truth) == pytest.approx([4, 1])
    assert regressor_losses("absolute_error", predictions, truth) == pytest.approx([2, 1])


def test_r2_is_one_less_the_squared_errors_by_the_variance() -> None:
    truth, predictions = np.array([1.0, 2.0, 3.0, 4.0]) + 1e9, np.array([1.0, 2.0, 3.0, 2.0]) + 1e9

    losses = regressor_losses("r2", predictions, truth)

    assert losses.mean() / squared_deviations(truth).mean() == pytest.approx(1 - 0.2)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.3, -7.0])
def test_a_constant_target_has_no_variance_at_all(value: float) -> None:
    assert not squared_deviations(np.full(333, value)).any()


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([1.0, float("nan"), float("inf")], "the target of 2 rows is no finite number"),
        ([1.0, "cheap"], "the target is no number, and the version is a regressor"),
        ([1.0, [2.0]], "the target is no number"),
    ],
)
def test_a_target_that_is_no_number_is_told(labels: list[object], told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        target_values(labels)

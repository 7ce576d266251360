"""How far answers agree: labels, probabilities and predictions, and which rows do not."""

from typing import Any

import pytest

from loopwright_common.serving.spec import ServingSpec, Tensor
from loopwright_deployer.staging.evaluation.agreement import Outputs, agreement, worst_rows


def spec(**more: Any) -> ServingSpec:
    fields: dict[str, Any] = {
        "format": "onnx", "file": "model.onnx", "task": "classifier", "source_digest": "sha256:x",
        "tensor": Tensor(name="x", dtype="float32", shape=[2]),
    }  # fmt: skip
    return ServingSpec.model_validate({**fields, **more})


YES_NO, NO_YES = spec(classes=["yes", "no"]), spec(classes=["no", "yes"])
REGRESSOR = spec(task="regressor")


def test_classes_in_another_order_are_the_same_probabilities() -> None:
    own: Outputs = {
        "label": ["no", "yes", "no"],
        "probabilities": [[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]],
    }
    other: Outputs = {
        "label": ["no", "no", "no"],
        "probabilities": [[0.4, 0.6], [0.6, 0.4], [0.1, 0.9]],
    }

    found = agreement(own, other, NO_YES, YES_NO)

    assert found.labels == pytest.approx(2 / 3)
    assert found.probabilities == pytest.approx(0.2 / 3)
    assert worst_rows(found, 20) == [1]


def test_rows_with_another_label_come_before_those_with_other_probabilities() -> None:
    own: Outputs = {"label": [0, 1, 0], "probabilities": [[0.9, 0.1], [0.49, 0.51], [0.6, 0.4]]}
    other: Outputs = {"label": [0, 0, 0], "probabilities": [[0.9, 0.1], [0.51, 0.49], [0.9, 0.1]]}

    found = agreement(own, other, spec(classes=[0, 1]), spec(classes=[0, 1]))

    assert worst_rows(found, 20) == [1, 2]
    assert worst_rows(found, 1) == [1]


@pytest.mark.parametrize("label", ["1", 1, 1.0, True])
def test_a_label_is_the_same_in_whatever_type(label: Any) -> None:
    assert agreement({"label": [label]}, {"label": [1]}, spec(), spec()).labels == 1.0


def test_all_of_several_labels_have_to_agree() -> None:
    own, other = {"label": [[0, 1], [1, 1]]}, {"label": [[0, 1], [1, 0]]}

    assert agreement(own, other, spec(targets=2), spec(targets=2)).labels == 0.5


def test_other_classes_have_no_probabilities_to_compare() -> None:
    own: Outputs = {"label": ["a"], "probabilities": [[1.0, 0.0]]}
    other: Outputs = {"label": ["b"], "probabilities": [[1.0, 0.0]]}

    found = agreement(own, other, spec(classes=["a", "c"]), spec(classes=["b", "c"]))

    assert (found.labels, found.probabilities) == (0.0, None)


def test_predictions_differ_in_units_of_the_champions_spread() -> None:
    other: Outputs = {"prediction": [float(10 * n) for n in range(20)]}
    own: Outputs = {"prediction": [value + (60.0 if n == 3 else 6.0) for n, value in enumerate(other["prediction"])]}  # noqa: E501  # fmt: skip

    found = agreement(own, other, REGRESSOR, REGRESSOR)

    assert found.spread == pytest.approx(57.66, abs=0.01)
    assert found.median == pytest.approx(6 / 57.66, abs=1e-4)
    assert found.p95 == pytest.approx(6 / 57.66, abs=1e-4)
    assert worst_rows(found, 1) == [3]


def test_predictions_beside_constant_ones_differ_in_their_own_unit() -> None:
    found = agreement({"prediction": [5.0, 7.0]}, {"prediction": [5.0, 5.0]}, REGRESSOR, REGRESSOR)

    assert (found.spread, found.median, found.p95) == (None, 0.0, 2.0)


@pytest.mark.parametrize("other", [spec(), spec(task="regressor", targets=2)])
def test_answers_of_another_kind_have_no_figures(other: ServingSpec) -> None:
    found = agreement({"prediction": [1.0]}, {"label": [1]}, REGRESSOR, other)

    assert (found.rows, found.labels, found.median) == (1, None, None)
    assert worst_rows(found, 20) == []


def test_no_rows_have_no_figures() -> None:
    assert agreement({}, {}, YES_NO, YES_NO).rows == 0

"""What the MLflow client logs is packaged, served, and answers as the library itself does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.tensors.tensors import GivenTensor, InferenceRequest, ModelOutputs
from tests.scorer import logged_models

Fit = Callable[[], tuple[Any, Any]]


@dataclass
class Served:
    model: LoadedModel
    spec: ServingSpec

    def answer(self, rows: Any) -> ModelOutputs:
        """What the scorer answers a frame or array with."""
        scored = self.model.score(InferenceRequest(_given(self.model, rows)))
        assert scored.outputs is not None, scored.error
        return scored.outputs

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        return {tensor.name: tensor.shape for tensor in self.model.outputs}


def served(directory: Path, estimator: Any, rows: Any, **more: Any) -> Served:
    """Log with the MLflow client, package as the deployer does, load as the scorer does."""
    package = logged_models.packaged(directory, estimator, rows, **more)
    spec = ServingSpec.model_validate_json((package / SPEC_FILE).read_bytes())
    return Served(load(package, "sha256:" + "0" * 64), spec)


def assert_close(found: np.ndarray | None, expected: Any) -> None:
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def _given(model: LoadedModel, rows: Any) -> dict[str, GivenTensor]:
    if not isinstance(rows, pd.DataFrame):
        tensor = model.signature.inputs[0]
        return {tensor.name: GivenTensor(tensor.datatype, rows.shape, rows.ravel())}
    given = {}
    for tensor in model.signature.inputs:
        values = [None if pd.isna(value) else value for value in rows[tensor.name].tolist()]
        given[tensor.name] = GivenTensor(tensor.datatype, (len(values),), values)
    return given


@pytest.mark.parametrize("kind", list(logged_models.CLASSIFIERS))
def test_a_classifier_answers_the_labels_and_probabilities_of_its_library(
    kind: str, tmp_path: Path
) -> None:
    estimator, rows, form = logged_models.CLASSIFIERS[kind]()
    found = served(tmp_path, estimator, rows)

    answer = found.answer(rows)

    assert (found.spec.format, found.spec.predicts) == (form, "label")
    assert answer.label is not None
    assert answer.label.tolist() == np.asarray(estimator.predict(rows)).tolist()
    assert_close(answer.probabilities, estimator.predict_proba(rows))
    assert found.outputs == {"label": (-1,), "probabilities": (-1, len(estimator.classes_))}
    assert answer.score() is not None


@pytest.mark.parametrize("kind", list(logged_models.LABELLERS))
def test_a_classifier_without_probabilities_answers_labels_alone(kind: str, tmp_path: Path) -> None:
    estimator, rows, form = logged_models.LABELLERS[kind]()
    found = served(tmp_path, estimator, rows)

    answer = found.answer(rows)

    assert found.spec.format == form
    assert answer.label is not None
    assert answer.label.tolist() == estimator.predict(rows).tolist()
    assert (answer.probabilities, answer.score()) == (None, None)
    several = answer.label.shape[1:]
    assert found.outputs == {"label": (-1, *several)}
    assert not several or len(found.spec.classes or ()) == several[0]


@pytest.mark.parametrize("kind", list(logged_models.REGRESSORS))
def test_a_regressor_answers_one_or_several_predictions_a_row(kind: str, tmp_path: Path) -> None:
    estimator, rows, form = logged_models.REGRESSORS[kind]()
    found = served(tmp_path, estimator, rows)
    expected = np.asarray(estimator.predict(rows))

    answer = found.answer(rows)

    assert (found.spec.format, found.spec.predicts) == (form, "prediction")
    assert_close(answer.prediction, expected)
    assert found.outputs == {"prediction": (-1, *expected.shape[1:])}
    assert (answer.score() is None) == (expected.ndim == 2)


@pytest.mark.parametrize("kind", list(logged_models.BOOSTERS))
def test_a_raw_booster_is_what_its_objective_makes_it(kind: str, tmp_path: Path) -> None:
    booster, rows, native, predicts = logged_models.BOOSTERS[kind]()
    found = served(tmp_path, booster, rows)

    answer = found.answer(rows)

    assert found.spec.predicts == predicts
    pyfunc = answer.score() if predicts == "chance" else getattr(answer, predicts)
    assert_close(pyfunc, native)


def test_columns_of_numbers_reach_the_graph_as_one_matrix(tmp_path: Path) -> None:
    estimator, rows, _ = logged_models.CLASSIFIERS["a logistic regression"]()

    spec = served(tmp_path, estimator, rows).spec

    assert list(spec.matrices.values()) == [list(rows.columns)]


def test_columns_of_several_types_reach_the_graph_as_a_matrix_a_type(tmp_path: Path) -> None:
    estimator, rows, _ = logged_models.CLASSIFIERS["a pipeline over mixed columns"]()

    spec = served(tmp_path, estimator, rows).spec

    assert sorted(spec.matrices.values()) == [["age", "rate"], ["job", "town"]]


@pytest.mark.parametrize(
    ("kind", "column"), [("a pipeline over mixed columns", "rate"), ("a logistic regression", "b")]
)
def test_a_number_too_large_for_the_graph_is_refused_by_its_column(
    kind: str, column: str, tmp_path: Path
) -> None:
    estimator, rows, _ = logged_models.CLASSIFIERS[kind]()
    found = served(tmp_path, estimator, rows)

    with pytest.raises(InvalidError, match=f"'{column}': a value is beyond"):
        found.answer(rows.head(2).assign(**{column: [0.5, 1e300]}))


def test_missing_text_numbers_and_truth_are_answered_as_the_library_does(tmp_path: Path) -> None:
    estimator, rows = logged_models.gappy()
    found = served(tmp_path, estimator, rows)

    answer = found.answer(rows)

    assert {column.type for column in found.spec.columns or ()} == {"string", "boolean", "double"}
    assert_close(answer.probabilities, estimator.predict_proba(rows))


def test_xgboost_refuses_a_new_category_and_lightgbm_takes_it_as_missing(tmp_path: Path) -> None:
    rows = logged_models.CLASSIFIERS["XGBoost with categories"]()[1].head(2)
    strange = rows.assign(job=["astronaut", None])
    strict = served(tmp_path / "x", *logged_models.CLASSIFIERS["XGBoost with categories"]()[:2])
    lenient = served(tmp_path / "l", *logged_models.CLASSIFIERS["LightGBM with categories"]()[:2])

    with pytest.raises(InvalidError, match="'job': 'astronaut' is new to the model"):
        strict.answer(strange)
    answer = lenient.answer(strange)
    assert answer.probabilities is not None


def test_the_rounds_after_the_best_one_do_not_count(tmp_path: Path) -> None:
    estimator, rows = logged_models.stopped_early()
    found = served(tmp_path, estimator, rows)

    answer = found.answer(rows)

    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    assert_close(answer.probabilities, estimator.predict_proba(rows))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_are_served_in_the_type_of_the_signature(dtype: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 1)).astype(dtype)
    found = served(tmp_path, logged_models.image_graph(), images)

    answer = found.answer(images)

    tensor = found.model.signature.inputs[0]
    assert (tensor.datatype, tensor.shape) == (
        {"uint8": "UINT8", "float32": "FP32"}[dtype],
        (-1, 28, 28, 1),
    )
    assert_close(answer.prediction, logged_models.image_answers(images))


@pytest.mark.parametrize(("kind", "reason"), logged_models.REFUSED.items())
def test_an_untrusted_format_is_refused_with_reason_and_remedy(
    kind: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidError, match=reason):
        logged_models.packaged(
            tmp_path, rows=logged_models.numbers(), **logged_models.UNTRUSTED[kind]()
        )

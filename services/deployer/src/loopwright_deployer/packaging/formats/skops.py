"""Opens scikit-learn estimators kept as skops, trusting a fixed list of types."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.model_files import check_model_file
from loopwright_common.serving.spec import Classes, Column, Tensor
from loopwright_deployer.packaging.onnx import convert
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.native_model import (
    ModelOutputs,
    NativeForm,
    NativeModel,
    Task,
    python_values,
    signature_of,
)
from loopwright_deployer.packaging.sources.sample_rows import SampleRows, native_inputs

# Looked at one by one: plain data or arithmetic, beyond what skops trusts by itself.
TRUSTED = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
# Their trees are native memory, so they are opened here only and served as ONNX.
COMPILED_ONLY = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)
VARIABLE = "LOOPWRIGHT_DEPLOYER_TRUSTED_TYPES"
_SCORERS = {"numpy", "pandas", "scipy", "sklearn", *sys.stdlib_module_names}
"""Whose modules every scorer has."""


class ForeignTypesError(LoopwrightError):
    """A trusted estimator is made of modules that a scorer may lack; `types` are to be trusted."""

    def __init__(self, types: list[str], reason: str) -> None:
        super().__init__(reason)
        self.types = types


def load_skops(source: PackageSource) -> tuple[Any, list[str]]:
    """The estimator and its types beyond skops' own.

    InvalidError for a type that nobody trusts, ForeignTypesError where a module is missing here.
    """
    import skops.io

    check_model_file(source.file, "sklearn-skops")
    types = set(skops.io.get_untrusted_types(file=source.file))
    own = {name for name in os.environ.get(VARIABLE, "").split(",") if name}
    if strange := sorted(types - set(TRUSTED) - set(COMPILED_ONLY) - own):
        raise InvalidError(
            f"the package holds types that are not trusted: {', '.join(strange)}; "
            f"after a look at them, name them in {VARIABLE}, or log the model as onnx"
        )
    try:
        return skops.io.load(source.file, trusted=sorted(types)), sorted(types)
    except ImportError as error:
        _check_no_native_memory(types)
        raise ForeignTypesError(sorted(types), str(error)) from None


def open_skops(source: PackageSource) -> NativeModel:
    """InvalidError for a type that is not trusted, no signature, or a task that is not served.

    ForeignTypesError where a scorer may lack a module of its types.
    """
    estimator, types = load_skops(source)
    columns, tensor = signature_of(
        source,
        getattr(estimator, "n_features_in_", None),
        named=hasattr(estimator, "feature_names_in_"),
    )
    task, classes = _task(estimator)
    return NativeModel(
        task=task,
        classes=classes,
        columns=columns,
        tensor=tensor,
        predicts="label" if task == "classifier" else "prediction",
        infer=lambda rows: _answer(estimator, task, rows, columns, tensor),
        conversions=convert.conversions(estimator, task, columns, tensor),
        native_form=lambda: _kept(source, types),
    )


def _answer(
    estimator: Any,
    task: Task,
    rows: SampleRows,
    columns: list[Column] | None,
    tensor: Tensor | None,
) -> ModelOutputs:
    inputs = native_inputs(rows, columns, tensor)
    if task == "regressor":
        return {"prediction": estimator.predict(inputs)}
    answers = {"label": estimator.predict(inputs)}
    if hasattr(estimator, "predict_proba") and answers["label"].ndim == 1:
        answers["probabilities"] = estimator.predict_proba(inputs)
    return answers


def _kept(source: PackageSource, types: list[str]) -> NativeForm:
    _check_no_native_memory(types)
    if foreign := [name for name in types if name.split(".")[0] not in _SCORERS]:
        raise ForeignTypesError(types, f"{', '.join(foreign)} is not of the scorer's own libraries")
    return NativeForm(
        source.file.read_bytes(),
        {"format": "sklearn-skops", "file": "model.skops", "trusted": types},
    )


def _check_no_native_memory(types: Iterable[str]) -> None:
    if kinds := sorted(set(types) & set(COMPILED_ONLY)):
        raise InvalidError(f"{', '.join(kinds)} is served as ONNX only")


def _task(estimator: Any) -> tuple[Task, Classes | list[Classes] | None]:
    from sklearn.base import is_classifier, is_regressor

    if is_regressor(estimator):
        return "regressor", None
    if not is_classifier(estimator):
        kind = type(estimator).__name__
        raise InvalidError(f"{kind} is neither classifier nor regressor; only these are served")
    classes = estimator.classes_
    if isinstance(classes, list):
        return "classifier", [python_values(one) for one in classes]
    return "classifier", python_values(classes)

"""Opens scikit-learn estimators kept as skops, of listed types only."""

import os
import sys
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.model_files import (
    NATIVE,
    check_model_file,
    confine_estimator,
    held_types,
)
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

VARIABLE = "LOOPWRIGHT_DEPLOYER_TRUSTED_TYPES"
_SCORERS = {"numpy", "pandas", "scipy", "sklearn", *sys.stdlib_module_names}
"""Whose modules every scorer has."""


class ForeignTypesError(LoopwrightError):
    """A trusted estimator is made of modules that a scorer may lack; `types` are to be trusted."""

    def __init__(self, types: list[str], reason: str) -> None:
        super().__init__(reason)
        self.types = types


def load_skops(source: PackageSource) -> tuple[Any, list[str]]:
    """The estimator, and its types that skops does not trust by itself.

    InvalidError for a type that nobody trusts, ForeignTypesError where a module is missing here.
    """
    import skops.io

    check_model_file(source.file, "sklearn-skops")
    require_trusted(source.file)
    types = skops.io.get_untrusted_types(file=source.file)
    try:
        estimator = skops.io.load(source.file, trusted=types)
    except ImportError as error:
        require_servable(source.file)
        raise ForeignTypesError(types, str(error)) from None
    return confine_estimator(estimator, f"{source.file.name} (skops)"), types


def require_trusted(file: Path) -> None:
    """InvalidError for a type in the file that nobody trusts."""
    own = {name for name in os.environ.get(VARIABLE, "").split(",") if name}
    if strange := sorted(held_types(file).foreign - own):
        raise InvalidError(
            f"the package holds types that are not trusted: {', '.join(strange)}; "
            f"after a look at them, name them in {VARIABLE}, or log the model as onnx"
        )


def require_servable(file: Path) -> None:
    """InvalidError for what the scorer is not to open itself: no trust, or native memory."""
    require_trusted(file)
    if kinds := sorted(held_types(file).names & NATIVE):
        raise InvalidError(f"{', '.join(kinds)} is served as ONNX only")


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
    require_servable(source.file)
    if foreign := [name for name in types if name.split(".")[0] not in _SCORERS]:
        raise ForeignTypesError(types, f"{', '.join(foreign)} is not of the scorer's own libraries")
    return NativeForm(
        source.file.read_bytes(),
        {"format": "sklearn-skops", "file": "model.skops", "trusted": types},
    )


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

"""What XGBoost and LightGBM have in common: rows as one matrix, chances as label and all."""

from collections.abc import Mapping

import numpy as np

from loopwright_common.serving.spec import Classes, ServingSpec
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    ModelOutputs,
    TensorType,
    declare_outputs,
    label_dtype,
)

Codes = Mapping[str, Mapping[object, float]]
"""By column: the code of each category."""


def codes_of(spec: ServingSpec) -> Codes:
    """The codes of the package's `categories`: their numbers in it, from 0."""
    return {
        name: {category: float(code) for code, category in enumerate(categories)}
        for name, categories in spec.categories.items()
    }


def matrix_of(inputs: ModelInputs, codes: Codes, dtype: np.dtype) -> np.ndarray:
    """Rows as [rows, columns]; a missing or unknown category is NaN."""
    if not codes:
        return inputs.as_matrix(dtype)
    columns = [
        array if name not in codes else _coded(array, codes[name])
        for name, array in inputs.arrays.items()
    ]
    return np.array(columns, dtype).T


def _coded(values: np.ndarray, codes: Mapping[object, float]) -> np.ndarray:
    return np.array([codes.get(value, np.nan) for value in values.tolist()])


class BoosterOutputs:
    """Makes outputs of a booster's numbers; decided once, when the package is loaded."""

    def __init__(self, spec: ServingSpec) -> None:
        self._several = spec.targets > 1
        self._labels: np.ndarray | None = None
        names = [PREDICTION]
        dtype = label_dtype(spec.classes) or np.dtype(object)
        if spec.task == "classifier":
            self._labels = np.array(_first(spec), dtype)
            names = [LABEL] if self._several else [LABEL, PROBABILITIES]
        self._names = {name: name for name in names}
        self._label_dtype = dtype
        self._spec = spec

    def outputs(self, numbers: np.dtype) -> list[TensorType]:
        return declare_outputs(self._spec, self._names, self._label_dtype, numbers)

    def answer(self, raw: np.ndarray) -> ModelOutputs:
        """What a booster answered: `raw` are predictions, [rows] or [rows, k], or a classifier's
        chances of every class, [rows, classes], or of the second of two, [rows].
        """
        if self._labels is None:
            return ModelOutputs(prediction=raw)
        if self._several:
            return ModelOutputs(label=self._labels[(raw > 0.5).astype(np.intp)])
        chances = raw if raw.ndim == 2 else np.stack([1 - raw, raw], axis=1)
        return ModelOutputs(self._labels[chances.argmax(axis=1)], chances)


def _first(spec: ServingSpec) -> Classes:
    """The classes; of several labels those of the first, as all are yes or no."""
    classes = spec.classes or []
    return classes[0] if isinstance(classes[0], list) else classes

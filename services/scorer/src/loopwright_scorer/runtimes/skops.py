"""scikit-learn's own code, for packages that do not convert."""

from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import confine_estimator, held_types
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    ModelOutputs,
    declare_outputs,
    label_dtype,
    shape_outputs,
)


class SkopsRuntime:
    """A scikit-learn estimator in this process, for packages that do not convert."""

    def __init__(self, path: Path, spec: ServingSpec) -> None:
        import skops.io

        if foreign := sorted(held_types(path).foreign - set(spec.trusted)):
            raise InvalidError(
                f"{path.name} holds types that are not trusted: {', '.join(foreign)}"
            )
        estimator = skops.io.load(path, trusted=spec.trusted)
        self._estimator = confine_estimator(estimator, f"{path.name} (skops)")
        self._columnar = spec.columns is not None
        self._label_dtype = label_dtype(spec.classes) or np.dtype(object)
        self._names = _native_names(spec, self._estimator)
        self.outputs = declare_outputs(spec, self._names, self._label_dtype, np.dtype(np.float64))

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        rows = self._rows(inputs)
        try:
            answers = {
                name: getattr(self._estimator, method)(rows) for name, method in self._names.items()
            }
        except ValueError as error:
            # scikit-learn's word for data that an estimator cannot take.
            raise InvalidError(f"the model refuses these rows: {error}") from None
        return shape_outputs(inputs.rows, self._label_dtype, answers)

    def _rows(self, inputs: ModelInputs) -> Any:
        if not self._columnar:
            return next(iter(inputs.arrays.values()))
        import pandas as pd

        return pd.DataFrame(dict(inputs.arrays), copy=False)


def _native_names(spec: ServingSpec, estimator: object) -> dict[str, str]:
    if spec.task == "regressor":
        return {PREDICTION: "predict"}
    names = {LABEL: "predict"}
    if spec.targets == 1 and hasattr(estimator, "predict_proba"):
        names[PROBABILITIES] = "predict_proba"
    return names

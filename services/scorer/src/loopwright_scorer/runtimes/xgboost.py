"""XGBoost's own code, for trees that do not convert."""

from pathlib import Path

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.runtimes.tree_inputs import BoosterOutputs, codes_of, matrix_of
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import ModelOutputs

_FLOAT = np.dtype(np.float32)


class XgboostRuntime:
    """A booster on one thread; unlike LightGBM it refuses a category that it does not know."""

    def __init__(self, path: Path, spec: ServingSpec) -> None:
        import xgboost

        self._booster = xgboost.Booster({"nthread": 1, "verbosity": 0})
        self._booster.load_model(path)
        self._codes = codes_of(spec)
        self._answering = BoosterOutputs(spec)
        self.outputs = self._answering.outputs(_FLOAT)

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        self._check(inputs)
        matrix = matrix_of(inputs, self._codes, _FLOAT)
        return self._answering.answer(
            self._booster.inplace_predict(matrix, validate_features=False)
        )

    def _check(self, inputs: ModelInputs) -> None:
        for name, codes in self._codes.items():
            known = {*codes, None}
            if new := next((v for v in inputs.arrays[name].tolist() if v not in known), None):
                raise InvalidError(
                    f"input {name!r}: {new!r:.60} is new to the model; it knows"
                    f" {', '.join(map(str, codes))[:200]}",
                    field=name,
                )

"""LightGBM's own code, for trees that do not convert."""

from pathlib import Path

import numpy as np

from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.runtimes.tree_inputs import BoosterOutputs, codes_of, matrix_of
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import ModelOutputs

_DOUBLE = np.dtype(np.float64)


class LightgbmRuntime:
    """A booster on one thread; a category that it does not know counts as missing."""

    def __init__(self, path: Path, spec: ServingSpec) -> None:
        import lightgbm

        self._booster = lightgbm.Booster(model_file=path)
        self._codes = codes_of(spec)
        self._answering = BoosterOutputs(spec)
        self.outputs = self._answering.outputs(_DOUBLE)

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        matrix = matrix_of(inputs, self._codes, _DOUBLE)
        return self._answering.answer(np.asarray(self._booster.predict(matrix, num_threads=1)))

"""A runtime inside the process of one package, as `isolated.worker_main` asks it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.registry import RUNTIME_FORMATS
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.signature import compile_signature
from loopwright_scorer.tensors.tensors import LABEL, NUMPY_TYPES, PROBABILITIES

_REFUSED = "the model refuses these rows: "
"""Is said again where the answer arrives."""


def open_model(directory: str, spec_json: str) -> "WorkerRuntime":
    """The package in a directory, opened by the runtime of its format."""
    spec = ServingSpec.model_validate_json(spec_json)
    package = ServingPackage(Path(directory), spec, compile_signature(spec))
    return WorkerRuntime(RUNTIME_FORMATS[spec.format].open(package))


class WorkerRuntime:
    """Arrays in and out of a runtime."""

    def __init__(self, runtime: ModelRuntime) -> None:
        self._runtime = runtime

    def describe(self, *_unused: object) -> dict[str, object]:
        types = {one.name: NUMPY_TYPES[one.datatype] for one in self._runtime.outputs}
        numbers = [type_ for name, type_ in types.items() if name != LABEL]
        return {
            "classes": None,
            "probabilities": PROBABILITIES in types,
            "labels": np.dtype(types.get(LABEL, "object")).name,
            "numbers": np.dtype(numbers[0] if numbers else "float64").name,
        }

    def predict(self, rows: int, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """ValueError when the model refuses these rows."""
        try:
            outputs = self._runtime.predict(ModelInputs(rows, arrays))
        except InvalidError as error:
            raise ValueError(str(error).removeprefix(_REFUSED)) from None
        return {each.name: each.array for each in outputs.tensors()}

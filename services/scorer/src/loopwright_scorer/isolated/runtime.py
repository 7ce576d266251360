"""The runtime of packages that are served from their own process."""

import weakref
from pathlib import Path

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.isolated import framing
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.isolated.worker_process import Arrays, WorkerError
from loopwright_scorer.isolated.worker_supervisor import WorkerSupervisor
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

_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Failed to allocate")
"""What Python and native libraries say at the limit of memory."""


class IsolatedRuntime:
    """The model of an isolated package; blocks for as long as a start and a call may take."""

    def __init__(
        self, directory: Path, spec: ServingSpec, example: Arrays, isolation: IsolationConfig
    ) -> None:
        self.sandbox = isolation.strongest_sandbox().level
        """At which level its process runs."""
        self._supervisor = WorkerSupervisor(directory, spec, example, isolation)
        # However this goes: the process goes with it.
        self._close = weakref.finalize(self, self._supervisor.close)
        description = self._supervisor.open()
        self._wanted = [PREDICTION] if spec.task == "regressor" else [LABEL]
        if spec.task == "classifier" and description.get("probabilities"):
            self._wanted.append(PROBABILITIES)
        labels = np.dtype(str(description.get("labels", "object")))
        self._label_dtype = label_dtype(spec.classes) or labels
        self._numbers = np.dtype(str(description.get("numbers", "float64")))
        names = {name: name for name in self._wanted}
        self.outputs = declare_outputs(spec, names, self._label_dtype, self._numbers)

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        response = self._supervisor.call(framing.pack({"rows": inputs.rows}, inputs.arrays))
        if response.refused:
            raise InvalidError(f"the model refuses these rows: {response.error}")
        if response.error is not None:
            if any(word in response.error for word in _OUT_OF_MEMORY):
                raise WorkerError("memory", response.error)
            raise RuntimeError(response.error)
        return self._checked(inputs.rows, response.arrays)

    def memory(self) -> int:
        """Bytes of its process."""
        return int(self._supervisor.memory())

    def _checked(self, rows: int, arrays: Arrays) -> ModelOutputs:
        """Another process's word is not taken for it: RuntimeError unless it is as declared."""
        try:
            typed = {name: self._typed(name, arrays[name]) for name in self._wanted}
            answered = shape_outputs(rows, self._label_dtype, typed)
            shapes = {each.name: each.array.shape for each in answered.tensors()}
        except (KeyError, ValueError, TypeError) as error:
            raise RuntimeError(f"the model answers {_shapes(arrays)}: {error}") from None
        if any(shapes[tensor.name] != (rows, *tensor.shape[1:]) for tensor in self.outputs):
            raise RuntimeError(f"the model answers {_shapes(arrays)} to {rows} rows")
        return answered

    def _typed(self, name: str, array: np.ndarray) -> np.ndarray:
        return array if name == LABEL else array.astype(self._numbers, copy=False)


def _shapes(arrays: Arrays) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"

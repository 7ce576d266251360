"""The engines that compute answers, one file each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from loopwright_common.serving import ServingSpec
from loopwright_scorer.plan import Inputs, Plan
from loopwright_scorer.runtimes.outputs import Outputs
from loopwright_scorer.tensors import TensorType


class Runtime(Protocol):
    @property
    def outputs(self) -> Sequence[TensorType]: ...

    def predict(self, inputs: Inputs) -> Outputs:
        """InvalidError when the model refuses these rows; any other error is the server's."""
        ...


def open_runtime(directory: Path, spec: ServingSpec, plan: Plan) -> Runtime:
    """Load the serving file; seconds of work, so never on the event loop."""
    if spec.format == "onnx":
        from loopwright_scorer.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(directory / spec.file, spec, plan)
    from loopwright_scorer.runtimes.skops import SkopsRuntime

    return SkopsRuntime(directory / spec.file, spec)

"""What an engine with a model in it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.signature import CompiledSignature
from loopwright_scorer.tensors.tensors import ModelOutputs, TensorType


class ModelRuntime(Protocol):
    """A package's model in its engine, ready to compute.

    One whose model is in another process also has `memory() -> int`: the bytes which that takes.
    """

    @property
    def outputs(self) -> Sequence[TensorType]:
        """The outputs that `predict` gives, as metadata declares them."""
        ...

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        """InvalidError when the model refuses these rows; any other error is the server's."""
        ...


@dataclass(frozen=True, slots=True)
class ServingPackage:
    """A package on disk that is to be opened; without `isolation` never in its own process."""

    directory: Path
    spec: ServingSpec
    signature: CompiledSignature
    isolation: IsolationConfig | None = None
    digest: str = ""
    largest_input: float = math.inf
    """Elements of one call's inputs together; more would take more memory than there is for it."""

    @property
    def file(self) -> Path:
        """The serving file."""
        return self.directory / self.spec.file

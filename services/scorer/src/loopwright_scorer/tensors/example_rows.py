"""A row to try a model with: the package's own example, or one made up."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.signature import CompiledSignature
from loopwright_scorer.tensors.tensors import NUMPY_TYPES, GivenTensor, InferenceRequest, TensorType


def example_of(spec: ServingSpec, signature: CompiledSignature) -> ModelInputs:
    """InvalidError when the package's own example does not fit its signature."""
    example: Mapping[str, list[Any]] = spec.example or {}
    tensors = {
        tensor.name: _tensor(tensor, example.get(tensor.name)) for tensor in signature.inputs
    }
    try:
        return signature.read(InferenceRequest(tensors))
    except InvalidError as error:
        raise InvalidError(f"the model does not answer its own example: {error}") from None


def _tensor(tensor: TensorType, values: list[Any] | None) -> GivenTensor:
    trailing = tuple(max(size, 1) for size in tensor.shape[1:])
    if values is None:
        made_up = np.zeros(math.prod(trailing), NUMPY_TYPES[tensor.datatype])
        return GivenTensor(
            tensor.datatype, (1, *trailing), [""] if tensor.datatype == "BYTES" else made_up
        )
    if trailing:
        given = np.asarray(values, NUMPY_TYPES[tensor.datatype])
        return GivenTensor(tensor.datatype, given.shape, given.ravel())
    return GivenTensor(tensor.datatype, (len(values),), values)

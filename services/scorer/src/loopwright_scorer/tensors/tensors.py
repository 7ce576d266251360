"""What a model is given and what it answers, in neutral words: the datatypes are those of V2."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.tensors.array_stack import stack_arrays

_FEW = 32
"""Values up to which Python is quicker than numpy."""
NUMPY_TYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
# By number, which hashes quickly; where two integer types of C are of one size, each has its own.
_NAMES = {
    np.dtype(kind).num: name
    for name, kind in [
        *NUMPY_TYPES.items(),
        *((f"INT{np.dtype(c).itemsize * 8}", c) for c in (np.intc, np.long, np.longlong)),
        *((f"UINT{np.dtype(c).itemsize * 8}", c) for c in (np.uintc, np.ulong, np.ulonglong)),
    ]
}


LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"


class TensorType(NamedTuple):
    """What metadata says of an input or output; -1 is a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class OutputTensor(NamedTuple):
    """An output as it is answered: `array` of [rows, ...], of V2's `datatype`."""

    name: str
    datatype: str
    array: np.ndarray


class GivenTensor(NamedTuple):
    """An input as sent: `data` flat in row-major order, None in a list where a value is missing."""

    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | np.ndarray


@dataclass(slots=True)
class InferenceRequest:
    """What a client asks of a model, whatever protocol it spoke."""

    inputs: Mapping[str, GivenTensor]
    id: str | None = None
    outputs: frozenset[str] | None = None
    """Names of the outputs asked for; None means all."""
    timeout: float | None = None
    """Seconds after which the caller does not want an answer any more."""


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """A classifier's `label` and `probabilities` [rows, classes], or a regressor's `prediction`.

    Labels and predictions are [rows], or [rows, k] of a model with k of them; there are then no
    probabilities. A classifier may have a label only.
    """

    label: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    prediction: np.ndarray | None = None

    def tensors(self, wanted: Collection[str] | None = None) -> list[OutputTensor]:
        """The outputs with these names, None for all; InvalidError when one is not there."""
        tensors: list[OutputTensor] = []
        if (label := self.label) is not None:
            tensors.append(OutputTensor(LABEL, datatype_of(label.dtype), label))
        if (chances := self.probabilities) is not None:
            tensors.append(OutputTensor(PROBABILITIES, datatype_of(chances.dtype), chances))
        if (numbers := self.prediction) is not None:
            tensors.append(OutputTensor(PREDICTION, datatype_of(numbers.dtype), numbers))
        return tensors if wanted is None else _only(tensors, wanted)

    def rows(self, start: int, stop: int) -> "ModelOutputs":
        """The outputs of the rows from `start` to before `stop`."""
        return ModelOutputs(**{each.name: each.array[start:stop] for each in self.tensors()})

    def is_finite(self) -> bool:
        """Whether no probability or prediction is missing or infinite."""
        numbers = self.probabilities if self.prediction is None else self.prediction
        if numbers is None:
            return True
        if numbers.size <= _FEW:  # where numpy costs more than the values
            return all(map(math.isfinite, numbers.ravel().tolist()))
        return bool(np.isfinite(numbers).all())

    def score(self) -> np.ndarray | None:
        """The monitored number per row, [rows]: the last probability of two, else the largest.

        A regressor's is its prediction; a model with several per row, or labels only, has none.
        """
        if self.prediction is not None:
            return self.prediction if self.prediction.ndim == 1 else None
        if self.probabilities is None:
            return None
        if self.probabilities.shape[1] == 2:
            return self.probabilities[:, 1]
        return np.asarray(self.probabilities.max(axis=1))


def datatype_of(dtype: np.dtype[Any]) -> str:
    """V2's name of a numpy type; text and objects are BYTES."""
    return _NAMES.get(dtype.num, "BYTES")


def _only(tensors: list[OutputTensor], wanted: Collection[str]) -> list[OutputTensor]:
    there = [tensor.name for tensor in tensors]
    if unknown := set(wanted).difference(there):
        raise InvalidError(f"outputs: the model has no {min(unknown)!r}, only {', '.join(there)}")
    return [tensor for tensor in tensors if tensor.name in wanted]


def concatenate_outputs(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """The answers to several calls, in order.

    ShapeMismatchError where they differ in what they have.
    """
    several = (
        [getattr(part, name) for part in parts] for name in (LABEL, PROBABILITIES, PREDICTION)
    )
    return ModelOutputs(
        *(None if all(one is None for one in each) else stack_arrays(each) for each in several)
    )


def label_dtype(classes: Sequence[Any] | None) -> np.dtype | None:
    """The labels' type as the classes have it: text, whole numbers, numbers or truth."""
    if classes is None or not len(classes):
        return None
    if isinstance(classes[0], list):
        classes = [one for several in classes for one in several]
    dtype = np.asarray(classes).dtype
    return dtype if dtype.kind in "bif" else np.dtype(object)


def declare_outputs(
    spec: ServingSpec, names: Mapping[str, str], label: np.dtype, numbers: np.dtype
) -> list[TensorType]:
    """Metadata of the outputs that are among `names`, with the types that the engine answers."""
    per_row = (-1,) if spec.targets == 1 else (-1, spec.targets)
    kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]] = {
        LABEL: (label, per_row),
        PROBABILITIES: (numbers, (-1, len(spec.classes) if spec.classes else -1)),
        PREDICTION: (numbers, per_row),
    }
    return [TensorType(name, datatype_of(kinds[name][0]), kinds[name][1]) for name in names]


def shape_outputs(rows: int, labels: np.dtype, answers: Mapping[str, Any]) -> ModelOutputs:
    """A model's arrays as outputs; labels and predictions [rows, 1] become [rows]."""
    label, prediction = answers.get(LABEL), answers.get(PREDICTION)
    if label is not None:
        label = _per_row(np.asarray(label), rows).astype(labels, copy=False)
    if prediction is not None:
        prediction = _per_row(np.asarray(prediction), rows)
    probabilities = answers.get(PROBABILITIES)
    return ModelOutputs(
        label, None if probabilities is None else np.asarray(probabilities), prediction
    )


def _per_row(array: np.ndarray, rows: int) -> np.ndarray:
    return array.reshape(rows) if array.size == rows else array.reshape(rows, -1)

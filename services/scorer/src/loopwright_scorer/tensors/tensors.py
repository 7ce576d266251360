"""Tensors and requests in neutral words; names, datatypes and shapes are those of protocol V2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

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


NamedTensor = tuple[str, np.ndarray]


class TensorType(NamedTuple):
    """What metadata says of an input or output; -1 is a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


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


def datatype_of(dtype: np.dtype[Any]) -> str:
    """V2's name of a numpy type; text and objects are BYTES."""
    return _NAMES.get(dtype.num, "BYTES")

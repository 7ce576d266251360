"""What V2 asks of a request, over HTTP and over gRPC alike."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_scorer.errors import UnsupportedError
from loopwright_scorer.protocols import raw_tensors
from loopwright_scorer.tensors.tensors import NUMPY_TYPES, GivenTensor

_RAW_ONLY = "BF16"
_DIMENSIONS_LIMIT = 32
INPUTS_LIMIT = 10_000
_ELSEWHERE = ("shared_memory_region", "shared_memory_byte_size", "classification")


class DeclaredTensor(NamedTuple):
    """An input as a request declares it, not yet checked; `data` is a view where it came raw."""

    name: str
    datatype: object
    shape: object
    data: list[Any] | np.ndarray | memoryview


def check_count(inputs: int) -> None:
    """InvalidError for more inputs than any model here has."""
    if inputs > INPUTS_LIMIT:
        raise InvalidError(
            f"inputs: {inputs:,} are too many, at most {INPUTS_LIMIT:,} are read; send columns of"
            " one type as one matrix [rows, columns]"
        )


def check_inputs(declared: Sequence[DeclaredTensor]) -> dict[str, GivenTensor]:
    """The inputs by name, rows first; InvalidError names the first that the protocol does not know.

    Of a name that is declared twice the last is there: the caller counts.
    """
    check_count(len(declared))
    inputs = {}
    for name, datatype, sizes, data in declared:
        shape = tuple(sizes) if isinstance(sizes, list) else ()
        check_tensor(name, datatype, shape)
        if isinstance(data, memoryview):
            inputs[name] = raw_tensors.decode_tensor(name, str(datatype), shape, data)
        else:
            inputs[name] = filled(name, str(datatype), shape, data)
    return inputs


def check_tensor(name: str, datatype: object, shape: Sequence[object] | None) -> None:
    """InvalidError unless an input is declared as the protocol knows it."""
    if datatype not in NUMPY_TYPES and datatype != _RAW_ONLY:
        raise InvalidError(
            f"input {name!r}: datatype {datatype!r}: give one of {', '.join(NUMPY_TYPES)}",
            field=name,
        )
    if (
        not shape
        or len(shape) > _DIMENSIONS_LIMIT
        or not all(type(size) is int and size >= 1 for size in shape)
    ):
        raise InvalidError(f"input {name!r}: shape: give positive whole numbers, rows first")


def filled(
    name: str, datatype: str, shape: tuple[int, ...], data: list[Any] | np.ndarray
) -> GivenTensor:
    """An input whose flat values came one by one; InvalidError where they do not fill its shape."""
    if datatype == _RAW_ONLY:
        raise InvalidError(f"input {name!r}: BF16 comes only as raw bytes; send FP32", field=name)
    if math.prod(shape) != len(data):
        raise InvalidError(
            f"input {name!r}: shape {list(shape)} needs {math.prod(shape)} values,"
            f" data has {len(data)}"
        )
    return GivenTensor(datatype, shape, data)


def check_extensions(where: str, parameters: Mapping[str, Any]) -> None:
    """UnsupportedError where the parameters of the request or a tensor ask for one not served."""
    if found := next((name for name in _ELSEWHERE if parameters.get(name)), None):
        raise UnsupportedError(f"{where}: {found}: this extension is not served")


def timeout_in(parameters: Mapping[str, Any]) -> float | None:
    """Seconds that the request's parameters give; UnsupportedError where they name a sequence."""
    if "sequence_id" in parameters:
        raise UnsupportedError("parameters: sequences are not served; models keep no state")
    timeout = parameters.get("timeout")  # microseconds; 0 and what is no number mean none
    return timeout / 1e6 if isinstance(timeout, int) and timeout > 0 else None

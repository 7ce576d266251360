"""How values of each type are sent, checked and held: from a list or raw tensor to an array."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ColumnType
from loopwright_scorer.tensors.inputs import narrow
from loopwright_scorer.tensors.tensors import NUMPY_TYPES, GivenTensor

INTEGERS = frozenset(name for name in NUMPY_TYPES if "INT" in name)
NUMBERS = INTEGERS | {"FP16", "FP32", "FP64"}
_MISSING: type = type(None)
Values = Sequence[object] | np.ndarray


@dataclass(frozen=True, slots=True)
class ValueType:
    """How a column type is sent, checked and held."""

    datatype: str
    dtype: np.dtype
    accepts: frozenset[str]
    values: frozenset[type]
    missing: object = None
    """What stands for a missing value; None means the type has no room for one."""

    @property
    def nullable(self) -> bool:
        return _MISSING in self.values


REAL: frozenset[type] = frozenset({float, int, _MISSING})
TEXT: frozenset[type] = frozenset({str, _MISSING})
WHOLE: frozenset[type] = frozenset({int})
VALUE_TYPES: Mapping[ColumnType, ValueType] = {
    "double": ValueType("FP64", np.dtype(np.float64), NUMBERS, REAL, np.nan),
    "float": ValueType("FP32", np.dtype(np.float32), NUMBERS, REAL, np.nan),
    "long": ValueType("INT64", np.dtype(np.int64), INTEGERS, WHOLE),
    "integer": ValueType("INT32", np.dtype(np.int32), INTEGERS, WHOLE),
    "boolean": ValueType("BOOL", np.dtype(np.bool_), frozenset({"BOOL"}), frozenset[type]({bool})),
    "string": ValueType("BYTES", np.dtype(np.object_), frozenset({"BYTES"}), TEXT),
    "datetime": ValueType(
        "BYTES", np.dtype("datetime64[us]"), frozenset({"BYTES"}), TEXT, np.datetime64("NaT")
    ),
}


def wrong_datatype(name: str, kind: ValueType, given: GivenTensor) -> InvalidError:
    """The error for a tensor of a datatype that the kind does not accept."""
    return InvalidError(
        f"input {name!r}: datatype {given.datatype}: send {kind.datatype}", field=name
    )


def read_values(name: str, kind: ValueType, data: Values) -> np.ndarray:
    """One array [n] of the kind's type; InvalidError names the first value that does not fit."""
    if isinstance(data, np.ndarray):
        return _converted(name, kind, data)
    if not kind.values.issuperset(map(type, data)):
        raise _wrong_value(name, kind, data)
    try:
        if kind.dtype.kind == "f" and kind.dtype.itemsize < 8:
            return narrow(name, np.array(data, np.float64), kind.dtype)
        return np.array(data, kind.dtype)
    except (OverflowError, ValueError) as error:
        raise InvalidError(f"input {name!r}: {error}", field=name) from None


def _converted(name: str, kind: ValueType, array: np.ndarray) -> np.ndarray:
    """A tensor that came as an array, in the kind's type."""
    if array.dtype == kind.dtype:
        return array
    if kind.dtype.kind == array.dtype.kind == "f" and kind.dtype.itemsize < array.itemsize:
        return narrow(name, array, kind.dtype)
    if array.dtype.kind == "M":
        raise InvalidError(f"input {name!r}: times, where the model needs text", field=name)
    try:
        converted = array.astype(kind.dtype)
    except ValueError as error:
        raise InvalidError(f"input {name!r}: {error}", field=name) from None
    if kind.dtype.kind in "iu" and not np.array_equal(converted, array):
        raise InvalidError(f"input {name!r}: a value is no {kind.datatype}", field=name)
    return converted


def _wrong_value(name: str, kind: ValueType, data: Sequence[object]) -> InvalidError:
    row = next(i for i, value in enumerate(data) if type(value) not in kind.values)
    value = data[row]
    if value is None:
        reason = f"null, and {kind.datatype} has no missing value; send a value"
    else:
        reason = f"{value!r:.60}, which is no {kind.datatype}"
    return InvalidError(f"input {name!r}: value {row} is {reason}", field=name)

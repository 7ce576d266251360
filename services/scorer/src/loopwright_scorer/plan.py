"""A signature compiled once into what each request needs: checks and numpy arrays, per column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving import Column, ColumnType, ServingSpec, Tensor
from loopwright_scorer.requests import GivenTensor, Request
from loopwright_scorer.tensors import NUMPY_TYPES, TensorType, datatype_of

_EXTREME = 1e15
_INTEGERS = frozenset(name for name in NUMPY_TYPES if "INT" in name)
_NUMBERS = _INTEGERS | {"FP16", "FP32", "FP64"}
_MISSING: type = type(None)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A request's rows as arrays by input name; missing is NaN, None in text, NaT in times."""

    rows: int
    arrays: Mapping[str, np.ndarray]
    ignored: Sequence[str] = ()

    def unusual(self) -> list[str]:
        """Names of inputs with a missing or extreme value, the usual cause of a failing model."""
        return [name for name, array in self.arrays.items() if _is_unusual(array)]


class Plan(Protocol):
    """Reads the inputs of one signature."""

    @property
    def inputs(self) -> Sequence[TensorType]: ...

    def read(self, request: Request) -> Inputs:
        """InvalidError names the input and the remedy."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
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


_REAL: frozenset[type] = frozenset({float, int, _MISSING})
_TEXT: frozenset[type] = frozenset({str, _MISSING})
_WHOLE: frozenset[type] = frozenset({int})
_KINDS: Mapping[ColumnType, Kind] = {
    "double": Kind("FP64", np.dtype(np.float64), _NUMBERS, _REAL, np.nan),
    "float": Kind("FP32", np.dtype(np.float32), _NUMBERS, _REAL, np.nan),
    "long": Kind("INT64", np.dtype(np.int64), _INTEGERS, _WHOLE),
    "integer": Kind("INT32", np.dtype(np.int32), _INTEGERS, _WHOLE),
    "boolean": Kind("BOOL", np.dtype(np.bool_), frozenset({"BOOL"}), frozenset[type]({bool})),
    "string": Kind("BYTES", np.dtype(np.object_), frozenset({"BYTES"}), _TEXT),
    "datetime": Kind(
        "BYTES", np.dtype("datetime64[us]"), frozenset({"BYTES"}), _TEXT, np.datetime64("NaT")
    ),
}


class ColumnPlan:
    """One input per column, each [rows] or [rows, 1]."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = [(column, _KINDS[column.type]) for column in columns]
        self._names = {column.name for column in columns}
        self.inputs = [TensorType(c.name, kind.datatype, (-1,)) for c, kind in self._columns]

    def read(self, request: Request) -> Inputs:
        rows = next(iter(request.inputs.values())).shape[0]
        arrays = {
            column.name: self._column(column, kind, request.inputs.get(column.name), rows)
            for column, kind in self._columns
        }
        ignored = () if len(arrays) == len(request.inputs) else request.inputs.keys() - self._names
        return Inputs(rows, arrays, sorted(ignored))

    def _column(
        self, column: Column, kind: Kind, given: GivenTensor | None, rows: int
    ) -> np.ndarray:
        if given is None:
            return self._absent(column, kind, rows)
        if given.datatype not in kind.accepts:
            raise InvalidError(
                f"input {column.name!r}: datatype {given.datatype}: send {kind.datatype}",
                field=column.name,
            )
        if given.shape not in ((rows,), (rows, 1)):
            raise InvalidError(
                f"input {column.name!r}: shape {list(given.shape)}: every input of this model is"
                f" one column, and this request has {rows} rows: send shape [{rows}]",
                field=column.name,
            )
        return read_values(column.name, kind, given.data)

    def _absent(self, column: Column, kind: Kind, rows: int) -> np.ndarray:
        if column.required or not (kind.nullable or kind.missing):
            needs = ", ".join(f"{i.name} ({i.datatype})" for i in self.inputs)
            raise InvalidError(
                f"no input {column.name!r}; the model needs {needs}", field=column.name
            )
        return np.full(rows, kind.missing, kind.dtype)


class TensorPlan:
    """One input [rows, ...shape]."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        dtype = np.dtype(tensor.dtype)
        datatype = datatype_of(dtype)
        integer = datatype in _INTEGERS
        self._kind = Kind(
            datatype,
            dtype,
            _INTEGERS if integer else _NUMBERS,
            _WHOLE if integer else _REAL,
            None if integer else np.nan,
        )
        self._shape = tuple(tensor.shape)
        self.inputs = [TensorType(tensor.name, datatype, (-1, *tensor.shape))]

    def read(self, request: Request) -> Inputs:
        name = self._tensor.name
        given = request.inputs.get(name)
        if given is None:
            raise InvalidError(f"no input {name!r}; the model needs {self._wanted()}", field=name)
        if given.datatype not in self._kind.accepts or not self._fits(given.shape[1:]):
            raise InvalidError(
                f"input {name!r}: {given.datatype} {list(given.shape)}: the model needs"
                f" {self._wanted()}",
                field=name,
            )
        array = read_values(name, self._kind, given.data).reshape(given.shape)
        ignored = sorted(request.inputs.keys() - {name})
        return Inputs(given.shape[0], {name: array}, ignored)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self._shape) and all(
            own in (-1, size) for own, size in zip(self._shape, shape, strict=True)
        )

    def _wanted(self) -> str:
        shape = ", ".join(["rows", *map(str, self._shape)])
        return f"{self._tensor.name} ({self._kind.datatype} [{shape}])"


def compile_plan(spec: ServingSpec) -> Plan:
    """InvalidError when the signature is neither columns nor a tensor we can hold."""
    if spec.columns and spec.tensor is None:
        return ColumnPlan(spec.columns)
    if spec.tensor is None or spec.columns:
        raise InvalidError("loopwright.json: give columns or a tensor", field="columns")
    try:
        return TensorPlan(spec.tensor)
    except TypeError as error:
        raise InvalidError(f"loopwright.json: tensor: {error}", field="tensor.dtype") from None


def read_values(name: str, kind: Kind, data: Sequence[object]) -> np.ndarray:
    """One array of the kind's type; InvalidError names the first row that does not fit."""
    if not kind.values.issuperset(map(type, data)):
        raise _wrong_value(name, kind, data)
    try:
        if kind.dtype.kind == "f" and kind.dtype.itemsize < 8:
            return narrowed(name, np.array(data, np.float64), kind.dtype)
        return np.array(data, kind.dtype)
    except (OverflowError, ValueError) as error:
        raise InvalidError(f"input {name!r}: {error}", field=name) from None


def narrowed(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in a smaller floating type; InvalidError where a number would become infinite."""
    with np.errstate(over="ignore"):
        small = array.astype(dtype)
    # Counts differ only where a finite number became infinite.
    if not np.array_equal(np.isinf(small), np.isinf(array)):
        raise InvalidError(
            f"input {name!r}: a value is beyond {np.finfo(dtype).max:.3g}, the largest"
            f" {datatype_of(dtype)}",
            field=name,
        )
    return small


def _wrong_value(name: str, kind: Kind, data: Sequence[object]) -> InvalidError:
    row = next(i for i, value in enumerate(data) if type(value) not in kind.values)
    value = data[row]
    if value is None:
        reason = f"null, and {kind.datatype} has no missing value; send a value"
    else:
        reason = f"{value!r:.60}, which is no {kind.datatype}"
    return InvalidError(f"input {name!r}: value {row} is {reason}", field=name)


def _is_unusual(array: np.ndarray) -> bool:
    if array.dtype == object:
        return None in array
    if array.dtype.kind == "M":
        return bool(np.isnat(array).any())
    return not bool((np.abs(array) < _EXTREME).all())

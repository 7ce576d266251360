"""A signature compiled once into what each request needs: checks and numpy arrays.

Columns of one type are checked and converted together: what a request costs grows with its types
and values, hardly with its columns.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Column, ServingSpec, Tensor
from loopwright_scorer.tensors.datatypes import (
    INTEGERS,
    NUMBERS,
    REAL,
    VALUE_TYPES,
    WHOLE,
    Values,
    ValueType,
    read_values,
    wrong_datatype,
)
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import GivenTensor, InferenceRequest, TensorType, datatype_of


class CompiledSignature(Protocol):
    """Reads the inputs of one signature."""

    @property
    def inputs(self) -> Sequence[TensorType]: ...

    @property
    def value_bytes(self) -> int:
        """Bytes of memory that a value takes while it is computed on."""
        ...

    def read(self, request: InferenceRequest) -> ModelInputs:
        """InvalidError names the input and the remedy."""
        ...


class ColumnSignature:
    """One input per column, each [rows] or [rows, 1]; or all as one matrix [rows, columns]."""

    value_bytes = 12
    """As FP64, or a reference, and once more as FP32."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._known = frozenset(self._names)
        self._groups = _groups(columns)
        self._positions = _positions(columns, self._groups)
        self._count = len(columns)
        self.inputs = [TensorType(c.name, VALUE_TYPES[c.type].datatype, (-1,)) for c in columns]
        self.matrix = self._matrix_type()

    def read(self, request: InferenceRequest) -> ModelInputs:
        given = request.inputs
        if len(given) == 1 and self._is_matrix(given):
            return self._from_matrix(*next(iter(given.items())))
        rows = next(iter(given.values())).shape[0]
        ignored = () if given.keys() <= self._known else sorted(given.keys() - self._known)
        blocks = [self._block(kind, columns, given, rows).T for kind, columns in self._groups]
        return ModelInputs(
            rows, blocks=blocks, names=self._names, positions=self._positions, ignored=ignored
        )

    def _matrix_type(self) -> TensorType | None:
        """What a matrix of this signature is; None where columns are of several types."""
        if len(self._groups) > 1:
            return None
        return TensorType("input", self._groups[0][0].datatype, (-1, self._count))

    def _is_matrix(self, given: Mapping[str, GivenTensor]) -> bool:
        name, tensor = next(iter(given.items()))
        return len(tensor.shape) == 2 and tensor.shape[1] == self._count and name not in self._known

    def _from_matrix(self, name: str, given: GivenTensor) -> ModelInputs:
        if self.matrix is None:
            raise InvalidError(
                f"input {name!r}: the columns are of several types: send one input per column:"
                f" {self._needs()}",
                field=name,
            )
        kind = self._groups[0][0]
        if given.datatype not in kind.accepts:
            raise wrong_datatype(name, kind, given)
        matrix = read_values(name, kind, given.data).reshape(given.shape)
        return ModelInputs(given.shape[0], blocks=(matrix,), names=self._names)

    def _block(
        self,
        kind: ValueType,
        columns: Sequence[Column],
        given: Mapping[str, GivenTensor],
        rows: int,
    ) -> np.ndarray:
        """The columns of one type, [columns, rows]."""
        parts = [self._values(column, kind, given.get(column.name), rows) for column in columns]
        if all(type(part) is list for part in parts):
            try:
                return read_values("", kind, list(chain(*parts))).reshape(len(parts), rows)
            except InvalidError:
                pass  # said better below, by the name of the column
        arrays = [read_values(c.name, kind, part) for c, part in zip(columns, parts, strict=True)]
        return np.stack(arrays) if len(arrays) > 1 else arrays[0][np.newaxis]

    def _values(
        self, column: Column, kind: ValueType, given: GivenTensor | None, rows: int
    ) -> Values:
        if given is None:
            return self._absent(column, kind, rows)
        if given.datatype not in kind.accepts:
            raise wrong_datatype(column.name, kind, given)
        if given.shape not in ((rows,), (rows, 1)):
            raise InvalidError(
                f"input {column.name!r}: shape {list(given.shape)}: every input of this model is"
                f" one column, and this request has {rows} rows: send shape [{rows}]",
                field=column.name,
            )
        return given.data

    def _absent(self, column: Column, kind: ValueType, rows: int) -> Values:
        if column.required or not (kind.nullable or kind.missing):
            raise InvalidError(
                f"no input {column.name!r}; the model needs {self._needs()}", field=column.name
            )
        return np.full(rows, kind.missing, kind.dtype)

    def _needs(self) -> str:
        return ", ".join(f"{i.name} ({i.datatype})" for i in self.inputs)


def _groups(columns: Sequence[Column]) -> list[tuple[ValueType, list[Column]]]:
    groups: dict[str, tuple[ValueType, list[Column]]] = {}
    for column in columns:
        groups.setdefault(column.type, (VALUE_TYPES[column.type], []))[1].append(column)
    return list(groups.values())


def _positions(
    columns: Sequence[Column], groups: Sequence[tuple[ValueType, list[Column]]]
) -> list[tuple[int, int]]:
    """The group of each column, and its position in that."""
    positions = {c.name: (i, at) for i, (_, own) in enumerate(groups) for at, c in enumerate(own)}
    return [positions[column.name] for column in columns]


class TensorSignature:
    """One input [rows, ...shape]."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        dtype = np.dtype(tensor.dtype)
        datatype = datatype_of(dtype)
        integer = datatype in INTEGERS
        self._kind = ValueType(
            datatype,
            dtype,
            INTEGERS if integer else NUMBERS,
            WHOLE if integer else REAL,
            None if integer else np.nan,
        )
        self._shape = tuple(tensor.shape)
        self.value_bytes = dtype.itemsize
        self.inputs = [TensorType(tensor.name, datatype, (-1, *tensor.shape))]

    def read(self, request: InferenceRequest) -> ModelInputs:
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
        ignored = sorted(request.inputs.keys() - {name}) if len(request.inputs) > 1 else ()
        return ModelInputs(given.shape[0], {name: array}, ignored=ignored)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if shape == self._shape:
            return True
        return len(shape) == len(self._shape) and all(
            own in (-1, size) for own, size in zip(self._shape, shape, strict=True)
        )

    def _wanted(self) -> str:
        shape = ", ".join(["rows", *map(str, self._shape)])
        return f"{self._tensor.name} ({self._kind.datatype} [{shape}])"


def compile_signature(spec: ServingSpec) -> CompiledSignature:
    """InvalidError when the signature is neither columns nor a tensor we can hold."""
    if spec.columns and spec.tensor is None:
        return ColumnSignature(spec.columns)
    if spec.tensor is None or spec.columns:
        raise InvalidError("loopwright.json: give columns or a tensor", field="columns")
    try:
        return TensorSignature(spec.tensor)
    except TypeError as error:
        raise InvalidError(f"loopwright.json: tensor: {error}", field="tensor.dtype") from None

"""Signatures, for protocols that send rows without saying their types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Column, Tensor
from loopwright_scorer.protocols.model_address import ModelAddress
from loopwright_scorer.routing.routes import Routes, ServedArm
from loopwright_scorer.tensors.datatypes import VALUE_TYPES, ValueType
from loopwright_scorer.tensors.tensors import GivenTensor, datatype_of

Cells = list[object]
_CELLS_LIMIT = 1 << 22


def check_cells(rows: int, columns: int) -> None:
    """InvalidError where rows, each made as long as there are columns, are more than are held.

    A short request can have many rows of which each names a column of its own.
    """
    if rows * columns > _CELLS_LIMIT:
        raise InvalidError(
            f"{rows:,} rows by {columns:,} columns are too many, at most {_CELLS_LIMIT:,} values"
            " are read from text; send several requests, or Arrow"
        )


@dataclass(frozen=True, slots=True)
class RowSignature:
    """How the rows of a request are read: as columns, or as one tensor."""

    columns: Mapping[str, Column]
    tensor: Tensor | None = None

    def value_types(self) -> Iterator[tuple[str, ValueType]]:
        return ((name, VALUE_TYPES[column.type]) for name, column in self.columns.items())

    def tensors(self, columns: Mapping[str, Cells]) -> dict[str, GivenTensor]:
        """Columns under the types of the signature; InvalidError where none of them is known."""
        known = {
            name: GivenTensor(kind.datatype, (len(columns[name]),), columns[name])
            for name, kind in self.value_types()
            if name in columns
        }
        if not known:
            raise InvalidError(f"no input is known; the model needs {', '.join(self.columns)}")
        if not all(tensor.shape[0] for tensor in known.values()):
            raise InvalidError("there are no rows")
        return known


def signature_of(routes: Routes, address: ModelAddress) -> RowSignature:
    """That of the version asked for; NotFoundError where there is none.

    Where the route chooses, it is the champion's with what other versions add: a column that only
    a challenger knows reaches it.
    """
    route, arm = address.find(routes)
    spec = arm.model.spec
    if spec.tensor is not None:
        return RowSignature({}, spec.tensor)
    named = address.version is not None or address.alias is not None
    others = () if named or len(route.versions) == 1 else route.versions.values()
    return RowSignature(_columns([arm, *others]))


def single_tensor(tensor: Tensor, array: np.ndarray) -> dict[str, GivenTensor]:
    """The model's one input; InvalidError where it has no rows."""
    if not array.size:
        raise InvalidError(f"input {tensor.name!r}: there are no rows", field=tensor.name)
    named = GivenTensor(datatype_of(array.dtype), array.shape, array.ravel())
    return {tensor.name: named}


def _columns(arms: list[ServedArm]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for arm in arms:
        for column in arm.model.spec.columns or ():
            columns.setdefault(column.name, column)
    return columns

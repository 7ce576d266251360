"""The rows of a request as checked numpy arrays: what runtimes compute on and records keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_scorer.tensors.array_stack import stack_arrays
from loopwright_scorer.tensors.tensors import datatype_of

_EXTREME = 1e15
_FEW = 32
_LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float16, np.float32)}


@dataclass(eq=False)
class ModelInputs:
    """A request's rows; missing is NaN, None in text, NaT in times.

    They are `whole` arrays by name, or `blocks` with the `names` of their columns in the
    signature's order. A block [rows, columns] has the columns of one type; `positions` are the
    block and the column in it of each name, which may be left out where there is but one block.
    """

    rows: int
    whole: Mapping[str, np.ndarray] | None = None
    blocks: Sequence[np.ndarray] = ()
    names: Sequence[str] = ()
    positions: Sequence[tuple[int, int]] = ()
    ignored: Sequence[str] = ()
    """Names of inputs that were sent and that the model does not have."""

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """By input name, in the order of the signature."""
        if self.whole is not None:
            return self.whole
        if len(self.blocks) == 1:
            return dict(zip(self.names, self.blocks[0].T, strict=True))
        columns = [block.T for block in self.blocks]
        positions = self.column_positions().items()
        return {name: columns[block][column] for name, (block, column) in positions}

    def column_positions(self) -> Mapping[str, tuple[int, int]]:
        """The block of each name, and the column in it; empty where there are no blocks."""
        positions = self.positions or [(0, column) for column in range(len(self.names))]
        return dict(zip(self.names, positions, strict=True))

    def as_matrix(self, dtype: np.dtype) -> np.ndarray:
        """All columns as [rows, columns]; InvalidError where a number does not fit the type."""
        if len(self.blocks) == 1:
            matrix = self.blocks[0]
        else:
            matrix = np.stack(list(self.arrays.values()), axis=1)
        if dtype.kind == "f" and matrix.dtype.kind == "f" and dtype.itemsize < matrix.itemsize:
            return narrow("inputs", matrix, dtype)
        return matrix.astype(dtype, copy=False)

    def unusual(self) -> list[str]:
        """Names of inputs with a missing or extreme value, the usual cause of a failing model."""
        return [name for name, array in self.arrays.items() if _is_unusual(array)]


def concatenate_inputs(parts: Sequence[ModelInputs]) -> ModelInputs:
    """The rows of several requests to one model, in order.

    ShapeMismatchError where shapes differ.
    """
    first, rows = parts[0], sum(part.rows for part in parts)
    if first.blocks:
        several = zip(*(part.blocks for part in parts), strict=True)
        blocks = [stack_arrays(each) for each in several]
        return ModelInputs(rows, blocks=blocks, names=first.names, positions=first.positions)
    return ModelInputs(rows, {n: stack_arrays([p.arrays[n] for p in parts]) for n in first.arrays})


def narrow(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array of any shape in a smaller floating type.

    InvalidError where a number would become infinite.
    """
    if 0 < array.size <= _FEW and _is_within(array, _LARGEST[dtype]):
        return array.astype(dtype)
    with np.errstate(over="ignore"):
        small = array.astype(dtype)
    # They differ only where a finite number became infinite.
    if not np.array_equal(np.isinf(small), np.isinf(array)):
        raise InvalidError(
            f"input {name!r}: a value is beyond {np.finfo(dtype).max:.3g}, the largest"
            f" {datatype_of(dtype)}",
            field=name,
        )
    return small


def _is_within(array: np.ndarray, largest: float) -> bool:
    values = array.ravel().tolist()  # NaN hides no larger value: what follows it is never less
    return bool(max(values) <= largest and min(values) >= -largest)


def _is_unusual(array: np.ndarray) -> bool:
    if array.dtype == object:
        return None in array
    if array.dtype.kind == "M":
        return bool(np.isnat(array).any())
    return not bool((np.abs(array) < _EXTREME).all())

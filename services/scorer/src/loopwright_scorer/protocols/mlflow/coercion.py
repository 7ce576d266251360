"""What MLflow makes of values that do not have a column's type.

Dataframes are cast as pandas casts objects, `instances` and `inputs` as numpy makes arrays.
https://mlflow.org/docs/latest/ml/model/signatures/#type-conversion
"""

import math
import re
from collections.abc import Callable

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_scorer.protocols.row_signature import Cells
from loopwright_scorer.tensors.datatypes import ValueType

Cast = Callable[[str, ValueType, Cells], Cells]
_ZONE = re.compile(r"[T ].*(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)


def coerce_dataframe_column(name: str, kind: ValueType, cells: Cells) -> Cells:
    """A dataframe's column; InvalidError for a number where text is wanted."""
    if _fits(kind, cells):
        return cells
    if kind.datatype == "BOOL":
        return [bool(cell) for cell in _with_nan(cells)]
    if kind.datatype == "BYTES":
        cells = [None if cell != cell else cell for cell in cells]  # noqa: PLR0124 - NaN
        if _fits(kind, cells):
            return cells
    return _read(name, kind, cells)


def coerce_array_column(name: str, kind: ValueType, cells: Cells) -> Cells:
    """A column of `instances` or `inputs`; a number is written out where text is wanted.

    InvalidError names the column whose values do not fit its kind.
    """
    if _fits(kind, cells):
        return cells
    if kind.dtype == object:
        return [_text(name, cell) for cell in cells]
    if kind.datatype == "BOOL":
        return _flat(name, _array(name, np.dtype(np.bool_), cells))
    return _read(name, kind, cells)


def nested_array(name: str, dtype: np.dtype, cells: object) -> np.ndarray:
    """Nested lists as one array; InvalidError where they are ragged or no numbers."""
    wide = np.dtype(np.float64) if dtype.kind == "f" else dtype
    return _array(name, wide, cells)


def _fits(kind: ValueType, cells: Cells) -> bool:
    """Whether the core takes the values as they are."""
    return kind.dtype.kind != "M" and kind.values.issuperset(map(type, cells))


def _read(name: str, kind: ValueType, cells: Cells) -> Cells:
    if kind.dtype == object:
        wrong = next(cell for cell in cells if type(cell) not in kind.values)
        raise InvalidError(f"input {name!r}: {wrong!r:.60} is no text", field=name)
    if kind.dtype.kind == "M":
        return _times(name, cells)
    return _flat(name, nested_array(name, kind.dtype, cells))


def _array(name: str, dtype: np.dtype, cells: object) -> np.ndarray:
    try:
        return np.array(cells, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidError(f"input {name!r}: {error}", field=name) from None


def _flat(name: str, array: np.ndarray) -> Cells:
    if array.ndim != 1:
        raise InvalidError(f"input {name!r}: give one value per row, no list", field=name)
    return list(array.tolist())


def _times(name: str, cells: Cells) -> Cells:
    """ISO times without a zone, or whole nanoseconds since 1970, as ISO text."""
    if any(isinstance(cell, str) and _ZONE.search(cell) for cell in cells):
        raise InvalidError(f"input {name!r}: give times without a time zone", field=name)
    times = _array(name, np.dtype("datetime64[ns]"), cells)
    if times.ndim != 1:
        raise InvalidError(f"input {name!r}: give one time per row, no list", field=name)
    texts = np.datetime_as_string(times, "us").tolist()
    return [None if text == "NaT" else text for text in texts]


def _text(name: str, cell: object) -> str | None:
    if isinstance(cell, list | dict):
        raise InvalidError(f"input {name!r}: give one value per row, no list", field=name)
    return None if cell is None else str(cell)


def _with_nan(cells: Cells) -> Cells:
    """pandas holds a missing value among numbers as NaN."""
    kinds = set(map(type, cells))
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return [math.nan if cell is None else cell for cell in cells]
    return cells

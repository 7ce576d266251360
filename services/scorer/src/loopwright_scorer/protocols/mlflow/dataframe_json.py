"""The rows of a JSON request as columns, as pandas would frame them."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_scorer.protocols.row_signature import Cells, check_cells

Frame = dict[str, Cells]


def from_records(rows: object, field: str) -> Frame:
    """Columns of a list of objects; what one of them lacks is missing.

    InvalidError for another shape.
    """
    if not isinstance(rows, list):
        raise InvalidError(f"{field}: give a list of objects, one per row")
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidError(f"{field}: every row must be a JSON object")
    names = dict.fromkeys(name for row in rows for name in row)
    check_cells(len(rows), len(names))
    return {name: [row.get(name) for row in rows] for name in names}


def from_split(content: object) -> Frame:
    """From columns and rows; a short row ends with missing values.

    InvalidError for another shape.
    """
    if not isinstance(content, dict) or "data" not in content:
        raise InvalidError('dataframe_split: give {"columns": [...], "data": [[...]]}')
    if extra := content.keys() - {"columns", "data", "index"}:
        raise InvalidError(f"dataframe_split: {min(extra)!r}: give only columns, data and index")
    rows, names, index = content["data"], content.get("columns"), content.get("index")
    if not isinstance(rows, list):
        raise InvalidError("dataframe_split: data: give a list of rows")
    if index is not None and (not isinstance(index, list) or len(index) != len(rows)):
        raise InvalidError(f"dataframe_split: index: give a label for each of {len(rows)} rows")
    if isinstance(names, list):
        check_cells(len(rows), len(names))
    if rows and isinstance(rows[0], dict):
        frame = from_records(rows, "dataframe_split")
        return frame if names is None else {n: frame.get(n, [None] * len(rows)) for n in names}
    cells = _columns(rows)
    return _named(cells, names if rows or names is None else [])


def _named(cells: Sequence[Cells], names: object) -> Frame:
    if names is None:
        return {f"{i}": column for i, column in enumerate(cells)}
    if not isinstance(names, list) or len(names) != len(cells):
        raise InvalidError(f"dataframe_split: columns: give the names of the {len(cells)} columns")
    frame = {str(name): column for name, column in zip(names, cells, strict=True)}
    if len(frame) < len(names):
        raise InvalidError("dataframe_split: columns: a name is given twice")
    return frame


def _columns(rows: list[object]) -> list[Cells]:
    if rows and not isinstance(rows[0], list):
        rows = [[row] for row in rows]
    listed = [row for row in rows if isinstance(row, list)]
    if len(listed) < len(rows):
        raise InvalidError("dataframe_split: data: rows are lists, all of them or none")
    check_cells(len(listed), max(map(len, listed), default=0))
    return [list(column) for column in zip_longest(*listed)]


def from_instances(rows: list[Any], field: str) -> Frame:
    """As `from_records`; InvalidError unless all rows have the same names."""
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise InvalidError(f"{field}: every row must be an object with the same names")
    return from_records(rows, field)


def from_columns(content: dict[str, object], field: str) -> Frame:
    """From lists by name, where a value beside lists counts for all rows.

    InvalidError unless the lists have one length.
    """
    lengths = {len(column) for column in content.values() if isinstance(column, list)}
    if len(lengths) > 1:
        raise InvalidError(f"{field}: the columns have {min(lengths)} to {max(lengths)} values")
    rows = lengths.pop() if lengths else 1
    check_cells(rows, len(content))
    return {
        name: column if isinstance(column, list) else [column] * rows
        for name, column in content.items()
    }

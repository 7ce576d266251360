"""CSV as MLflow reads it: a header, and values in the types of the signature."""

import csv
import math
from collections.abc import Mapping
from io import StringIO

from loopwright_common.errors import InvalidError
from loopwright_scorer.protocols.row_signature import Cells, RowSignature, check_cells
from loopwright_scorer.tensors.datatypes import ValueType

_MISSING = frozenset(
    (
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    )
)  # fmt: skip
"""What pandas takes for a missing value."""
_TRUTH = {"true": True, "false": False}
_EXACT = 2.0**53
"""Whole numbers below this are exact as floating-point numbers."""


def read_csv(body: bytes, signature: RowSignature) -> dict[str, Cells]:
    """The known columns by name; InvalidError names the column, or the line that is no CSV."""
    if signature.tensor is not None:
        raise InvalidError("CSV has no tensors: send JSON with inputs or instances")
    texts = _texts(body)
    return {
        name: _cells(name, kind, texts[name])
        for name, kind in signature.value_types()
        if name in texts
    }


def _texts(body: bytes) -> Mapping[str, list[str]]:
    """By the header's names; the first column of a name counts."""
    try:
        text = body.decode().removeprefix("\ufeff")
        rows = [row for row in csv.reader(StringIO(text, newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidError(f"the body is no CSV in UTF-8: {error}") from None
    if not rows:
        raise InvalidError("the body is empty: give a line of column names and a line per row")
    header, *rows = rows
    check_cells(len(rows), len(header))
    for number, row in enumerate(rows, 1):
        if len(row) > len(header):
            raise InvalidError(f"row {number} has {len(row)} values, the header {len(header)}")
        row.extend([""] * (len(header) - len(row)))
    columns: dict[str, list[str]] = {}
    for name, *cells in zip(header, *rows, strict=True):
        columns.setdefault(name, cells)
    return columns


def _cells(name: str, kind: ValueType, texts: list[str]) -> Cells:
    if kind.datatype == "BYTES":
        return [None if text in _MISSING else text for text in texts]
    try:
        numbers = _numbers(texts)
        if kind.dtype.kind == "f":
            return [*numbers]
        whole = map(_whole, numbers, texts)
        return [_truth(number) for number in whole] if kind.datatype == "BOOL" else [*whole]
    except ValueError as error:
        raise InvalidError(f"input {name!r}: {error}", field=name) from None


def _numbers(texts: list[str]) -> list[float]:
    together = "".join(texts)
    if "_" in together or not together.isascii():
        raise ValueError("give numbers as 1000.5")  # Python also reads 1_000 and other scripts
    try:
        return [math.nan if text in _MISSING else float(text) for text in texts]
    except ValueError:
        truths = [_TRUTH.get(text.lower()) for text in texts]
        if None in truths:
            raise
        return [float(truth) for truth in truths if truth is not None]


def _whole(number: float, text: str) -> int:
    if not number.is_integer():
        raise ValueError(f"{text!r:.60} is no whole number")
    return int(number) if abs(number) < _EXACT else int(text)


def _truth(number: int) -> bool:
    if number not in (0, 1):
        raise ValueError(f"{number} is neither true nor false")
    return bool(number)

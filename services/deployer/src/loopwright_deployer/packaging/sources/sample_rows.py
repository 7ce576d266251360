"""Rows to compare the native and the compiled form on, as both forms want them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from loopwright_common.serving.spec import Column, ColumnType, Tensor

MAX_ROWS = 500
_FRAME_TYPES: dict[ColumnType, str | None] = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "string": None,  # as pandas and so the scorer takes text, missing or not
    "datetime": "datetime64[us]",
}
_NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Values by column (None = missing), or the one tensor's rows under its name."""

    values: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), []))


def sample_rows(
    parquet: Path | None,
    columns: list[Column] | None,
    tensor: Tensor | None,
    example: dict[str, list[Any]] | None,
) -> SampleRows:
    """The example and up to 500 rows spread over the Parquet file, with optional inputs missing."""
    if tensor is not None:
        return SampleRows(example or _drawn(tensor))
    names = [column.name for column in columns or ()]
    values = {name: list((example or {}).get(name, [])) for name in names}
    for name, more in _spread(parquet, names).items():
        values[name] += more
    rows = SampleRows(values)
    return _with_missing(rows, [c for c in columns or () if not c.required]) if len(rows) else rows


def placeholder_row(columns: list[Column] | None, tensor: Tensor | None) -> SampleRows:
    """One row to learn from what shape the answers are."""
    if tensor is not None:
        return SampleRows(_drawn(tensor))
    plain: dict[str, Any] = {"string": "", "boolean": False, "datetime": datetime(2000, 1, 1)}  # noqa: DTZ001
    return SampleRows({column.name: [plain.get(column.type, 0)] for column in columns or ()})


def native_inputs(rows: SampleRows, columns: list[Column] | None, tensor: Tensor | None) -> Any:
    """What the library itself takes: an array [rows, ...], or a pandas frame of typed columns.

    A missing whole number makes its column float.
    """
    import numpy as np
    import pandas as pd

    if tensor is not None:
        return np.array(rows.values[tensor.name], dtype=tensor.dtype)
    data = {}
    for column in columns or ():
        values = rows.values[column.name]
        kind = _FRAME_TYPES[column.type]
        if column.type in ("long", "integer") and any(value is None for value in values):
            kind = "float64"
        data[column.name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(data)


def onnx_feed(
    rows: SampleRows, graph_types: dict[str, str], matrices: dict[str, list[str]]
) -> dict[str, Any]:
    """Arrays by graph input, [rows, k] for one of `matrices`, else [rows, 1] or the tensor's.

    Missing is NaN for a number and "" for a text.
    """
    import numpy as np

    feed = {}
    for name, graph_type in graph_types.items():
        kind = _NUMPY_TYPES.get(graph_type, "object")
        arrays = [_onnx_array(rows.values[one], kind) for one in matrices.get(name, [name])]
        if name in matrices:
            feed[name] = np.stack(arrays, axis=1)
        else:
            feed[name] = arrays[0] if arrays[0].ndim > 1 else arrays[0].reshape(-1, 1)
    return feed


def _onnx_array(values: list[Any], kind: str) -> Any:
    import numpy as np

    if kind == "object":
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    return np.array([np.nan if value is None else value for value in values]).astype(kind)


def _spread(parquet: Path | None, names: list[str]) -> dict[str, list[Any]]:
    if parquet is None:
        return {}
    import pyarrow.parquet as pq

    if not set(names) <= set(pq.read_schema(parquet).names):
        return {}
    table = pq.read_table(parquet, columns=names)
    stride = max(1, table.num_rows // MAX_ROWS)
    picked = table.take(list(range(0, table.num_rows, stride))[:MAX_ROWS])
    return {name: picked.column(name).to_pylist() for name in names}


def _with_missing(rows: SampleRows, optional: list[Column]) -> SampleRows:
    """Each optional float or text input once missing, on the first row."""
    values = {name: list(column) for name, column in rows.values.items()}
    for column in optional:
        if column.type in ("double", "float", "string"):
            for name, cells in values.items():
                cells.append(None if name == column.name else rows.values[name][0])
    return SampleRows(values)


def _drawn(tensor: Tensor) -> dict[str, list[Any]]:
    """Without an example: numbers around zero, drawn with a fixed seed."""
    import numpy as np

    shape = (32, *(max(size, 1) for size in tensor.shape))
    draw = np.random.default_rng(0)
    whole = np.dtype(tensor.dtype).kind in "iu"
    drawn = draw.integers(0, 100, shape) if whole else draw.normal(size=shape)
    return {tensor.name: drawn.tolist()}

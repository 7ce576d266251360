"""Rows to compare the native and the compiled form on, as both forms want them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright_common.serving import Column, Tensor

MOST = 500


@dataclass(frozen=True, slots=True)
class Rows:
    """Values by column (None = missing), or the one tensor's rows under its name."""

    values: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), []))


def sample(
    parquet: Path | None,
    columns: list[Column] | None,
    tensor: Tensor | None,
    example: dict[str, list[Any]] | None,
) -> Rows:
    """The example and up to 500 rows spread over the Parquet file, with optional inputs missing."""
    if tensor is not None:
        return Rows(example or _drawn(tensor))
    names = [column.name for column in columns or ()]
    values = {name: list((example or {}).get(name, [])) for name in names}
    for name, more in _spread(parquet, names).items():
        values[name] += more
    rows = Rows(values)
    return _with_missing(rows, [c for c in columns or () if not c.required]) if len(rows) else rows


def native_frame(rows: Rows, columns: list[Column]) -> Any:
    """A pandas frame typed by the signature; a missing integer makes its column float."""
    import numpy as np
    import pandas as pd

    kinds = {"double": np.float64, "float": np.float32, "boolean": bool, "string": object}
    data = {}
    for column in columns:
        values = rows.values[column.name]
        kind: Any = kinds.get(column.type, np.int64)
        if kind is np.int64 and any(value is None for value in values):
            kind = np.float64
        data[column.name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(data)


def onnx_feed(rows: Rows, columns: list[Column], graph_types: dict[str, str]) -> dict[str, Any]:
    """[n, 1] arrays by input; missing is NaN for a number and "" for a text."""
    import numpy as np

    kinds: dict[str, Any] = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
    }
    feed = {}
    for column in columns:
        values = rows.values[column.name]
        kind = kinds.get(graph_types[column.name])
        if kind is None:
            array = np.array(["" if v is None else str(v) for v in values], dtype=object)
        else:
            array = np.array([np.nan if v is None else v for v in values]).astype(kind)
        feed[column.name] = array.reshape(-1, 1)
    return feed


def _spread(parquet: Path | None, names: list[str]) -> dict[str, list[Any]]:
    if parquet is None:
        return {}
    import pyarrow.parquet as pq

    if not set(names) <= set(pq.read_schema(parquet).names):
        return {}
    table = pq.read_table(parquet, columns=names)
    stride = max(1, table.num_rows // MOST)
    picked = table.take(list(range(0, table.num_rows, stride))[:MOST])
    return {name: picked.column(name).to_pylist() for name in names}


def _with_missing(rows: Rows, optional: list[Column]) -> Rows:
    """Each optional float or text input once missing, on the first row."""
    values = {name: list(column) for name, column in rows.values.items()}
    for column in optional:
        if column.type in ("double", "float", "string"):
            for name, cells in values.items():
                cells.append(None if name == column.name else rows.values[name][0])
    return Rows(values)


def _drawn(tensor: Tensor) -> dict[str, list[Any]]:
    """Without an example: numbers around zero, drawn with a fixed seed."""
    import numpy as np

    shape = (32, *(max(size, 1) for size in tensor.shape))
    return {tensor.name: np.random.default_rng(0).normal(size=shape).tolist()}

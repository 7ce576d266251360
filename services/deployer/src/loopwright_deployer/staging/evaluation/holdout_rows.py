"""Rows of a holdout dataset: which are later than a time, and as inputs of a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset
from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.staging.evaluation.scorer_client import Values

MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Holdout:
    """Labelled rows in time order, as an Arrow table; `rows` counts also those beyond MAX_ROWS."""

    table: Any
    target: str
    rows: int

    def values(self, spec: ServingSpec) -> Values:
        """The rows as inputs of a version; InvalidError names columns that are not there."""
        if spec.tensor is not None:
            return {spec.tensor.name: self._tensor(spec.tensor.name, spec.tensor.shape)}
        names = [column.name for column in spec.columns or ()]
        if absent := sorted(set(names) - set(self.table.column_names)):
            raise InvalidError(f"the holdout dataset lacks {', '.join(absent)}")
        return {name: [_cell(v) for v in self.table.column(name).to_pylist()] for name in names}

    def truth(self) -> list[Any]:
        return list(self.table.column(self.target).to_pylist())

    def _tensor(self, name: str, shape: Sequence[int]) -> list[Any]:
        if name in self.table.column_names:
            return list(self.table.column(name).to_pylist())
        features = [n for n in self.table.column_names if n not in (self.target, "time")]
        if len(features) != int(np.prod(shape)):
            raise InvalidError(f"the holdout dataset has neither {name!r} nor its cells as columns")
        columns = [np.asarray(self.table.column(n), dtype=np.float64) for n in features]
        stacked = np.stack(columns, axis=1).reshape(-1, *shape)
        return list(stacked.tolist())


def read_holdout(parquet: Path, dataset: Dataset, later_than: datetime | None) -> Holdout:
    """The newest rows, in time order, later than `later_than`; InvalidError without a target."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(parquet)
    if dataset.target is None or dataset.target not in table.column_names:
        raise InvalidError(f"the holdout dataset has no target column {dataset.target!r}")
    table = table.filter(pc.is_valid(table.column(dataset.target)))
    all_later = dataset.from_ is not None and later_than is not None and dataset.from_ > later_than
    if "time" in table.column_names:
        table = table.sort_by("time")
    if later_than is not None and not all_later:
        table = _later(table, later_than, pa, pc)
    return Holdout(table.slice(max(0, table.num_rows - MAX_ROWS)), dataset.target, table.num_rows)


def class_indices(labels: Sequence[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """The index of each label among the classes, [n]; 1, 1.0, True and "1" are the same label.

    InvalidError names labels that are none of the classes.
    """
    indices = {_plain(one): index for index, one in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if _plain(label) not in indices})
    if unknown:
        raise InvalidError(f"labels {', '.join(unknown[:5])} are no classes of the version")
    return np.array([indices[_plain(label)] for label in labels], dtype=np.int64)


def _later(table: Any, after: datetime, pa: Any, pc: Any) -> Any:
    """Rows whose time is known to be later than `after`."""
    if "time" not in table.column_names:
        return table.slice(0, 0)
    times = pc.cast(table.column("time"), pa.timestamp("us", tz="UTC"))
    later = pc.greater(times, pa.scalar(after, pa.timestamp("us", tz="UTC")))
    return table.filter(pc.fill_null(later, False))


def _plain(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value

"""How far a dataset reaches: its rows and the range of their `time` column."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

_TIME = "time"


@dataclass(frozen=True, slots=True)
class ParquetStats:
    """The number of rows, their first and last `time`; one without a zone is taken for UTC."""

    rows: int
    first: datetime | None
    last: datetime | None


def read_parquet_stats(source: Path | BinaryIO) -> ParquetStats:
    """Rows and times of a Parquet file; ArrowException or OSError when it is none.

    Reads the `time` column whole: call it in a thread.

    Without a `time` column of timestamps, or with no time in it, the ends are None.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(source)
    first, last = _range(file)
    return ParquetStats(file.metadata.num_rows, first, last)


def _range(file: Any) -> tuple[datetime | None, datetime | None]:
    import pyarrow as pa
    from pyarrow import compute

    schema = file.schema_arrow
    if _TIME not in schema.names or not pa.types.is_timestamp(schema.field(_TIME).type):
        return None, None
    ends = compute.min_max(file.read(columns=[_TIME]).column(_TIME).cast(pa.timestamp("us")))
    return _aware(ends["min"].as_py()), _aware(ends["max"].as_py())


def _aware(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value

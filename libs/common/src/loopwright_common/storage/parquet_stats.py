"""How far a dataset reaches: its rows and the range of their `time` column."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

_TIME = "time"
_ROWS_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class ParquetStats:
    """The number of rows, their first and last `time`; one without a zone is taken for UTC."""

    rows: int
    first: datetime | None
    last: datetime | None


def read_parquet_stats(source: Path | BinaryIO) -> ParquetStats:
    """Rows and times of a Parquet file; ArrowException or OSError when it is none.

    Reads all of the `time` column, though never all at once: call it in a thread.

    Without a `time` column of timestamps, or with no time in it, the ends are None.
    """
    from pyarrow import parquet

    # Arrow reads all of a row group's column ahead unless told not to.
    file = parquet.ParquetFile(source, buffer_size=_BYTES_AT_ONCE, pre_buffer=False)
    first, last = _range(file)
    return ParquetStats(file.metadata.num_rows, first, last)


def _range(file: Any) -> tuple[datetime | None, datetime | None]:
    import pyarrow as pa
    from pyarrow import compute

    schema = file.schema_arrow
    if _TIME not in schema.names or not pa.types.is_timestamp(schema.field(_TIME).type):
        return None, None
    first = last = None
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[_TIME], use_threads=False):
        ends = compute.min_max(batch.column(0).cast(pa.timestamp("us"), safe=False))
        if ends["min"].is_valid:
            try:
                least, most = ends["min"].as_py(), ends["max"].as_py()
            except (ValueError, OverflowError):
                raise pa.ArrowInvalid("a time is not within the years 1 to 9999") from None
            first, last = min(first or least, least), max(last or most, most)
    return _aware(first), _aware(last)


def _aware(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value

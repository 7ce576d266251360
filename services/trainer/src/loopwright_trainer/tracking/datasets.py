"""What a version's datasets cover: rows and the range of their `time` column."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loopwright_common.clock import to_text
from loopwright_common.errors import InvalidError

TIME = "time"


@dataclass(frozen=True, slots=True)
class Extent:
    rows: int
    first: datetime | None
    last: datetime | None


def extent_of(path: Path, name: str) -> Extent:
    """Rows and time range of a Parquet file; InvalidError when it is none. Use a thread."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        first, last = _range(file)
        return Extent(file.metadata.num_rows, first, last)
    except (ArrowException, OSError) as error:
        raise InvalidError(f"{name} is no Parquet file: {error}", field=name) from None


def described(extent: Extent, target: str | None, taken_at: datetime) -> Mapping[str, object]:
    """The dataset as the tag `loopwright.datasets` tells it.

    Where no row has a time, none can be later than the moment the dataset was taken.
    """
    return {
        "rows": extent.rows,
        "from": to_text(extent.first) if extent.first else None,
        "until": to_text(extent.last or taken_at),
        "target": target,
    }


def _range(file: Any) -> tuple[datetime | None, datetime | None]:
    import pyarrow as pa
    from pyarrow import compute

    schema = file.schema_arrow
    if TIME not in schema.names or not pa.types.is_timestamp(schema.field(TIME).type):
        return None, None
    ends = compute.min_max(file.read(columns=[TIME]).column(TIME).cast(pa.timestamp("us")))
    return _moment(ends["min"].as_py()), _moment(ends["max"].as_py())


def _moment(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value

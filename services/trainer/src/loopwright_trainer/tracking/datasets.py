"""What a version's datasets cover, as the registry is told."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from loopwright_common.clock import to_text
from loopwright_common.errors import InvalidError, without_paths
from loopwright_common.storage import ParquetStats, read_parquet_stats


def extent_of(path: Path, name: str) -> ParquetStats:
    """Rows and time range of a Parquet file; InvalidError when it is none. Use a thread."""
    from pyarrow import ArrowException

    try:
        return read_parquet_stats(path)
    except (ArrowException, OSError) as error:
        raise InvalidError(
            f"{name} is no Parquet file; write it with pandas' `to_parquet`: "
            f"{without_paths(error)}",
            field=name,
        ) from None


def dataset_summary(
    extent: ParquetStats, target: str | None, taken_at: datetime
) -> Mapping[str, object]:
    """The dataset as the tag `loopwright.datasets` tells it.

    Where no row has a time, none can be later than the moment the dataset was taken.
    """
    return {
        "rows": extent.rows,
        "from": to_text(extent.first) if extent.first else None,
        "until": to_text(extent.last or taken_at),
        "target": target,
    }

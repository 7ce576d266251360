"""Rows and time range of datasets, as the registry is told."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopwright_common.errors import InvalidError
from loopwright_trainer.tracking.datasets import dataset_summary, extent_of

MOMENT = datetime(2024, 5, 1, tzinfo=UTC)
TAKEN = datetime(2025, 1, 1, tzinfo=UTC)


def told(path: Path, times: list[datetime | None]) -> dict[str, object]:
    column = pa.array(times, pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"x": range(len(times)), "time": column}), path)
    return dict(dataset_summary(extent_of(path, "d"), "y", TAKEN))


def test_the_range_is_of_the_rows_that_have_a_time(tmp_path: Path) -> None:
    assert told(tmp_path / "d", [None, MOMENT, None]) == {
        "rows": 3,
        "from": "2024-05-01T00:00:00.000000Z",
        "until": "2024-05-01T00:00:00.000000Z",
        "target": "y",
    }


def test_without_times_no_row_is_later_than_the_start_of_the_run(tmp_path: Path) -> None:
    range_ = told(tmp_path / "d", [None])

    assert (range_["from"], range_["until"]) == (None, "2025-01-01T00:00:00.000000Z")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("a,b")
    with pytest.raises(
        InvalidError, match=r"work/training\.parquet is no Parquet file; write it with"
    ):
        extent_of(tmp_path / "d", "work/training.parquet")

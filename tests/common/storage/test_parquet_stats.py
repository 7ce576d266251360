"""How far a dataset reaches is found in bounded memory: others made the file."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from loopwright_common.storage import ParquetStats, read_parquet_stats

AT = datetime(2026, 1, 2, tzinfo=UTC)
PEAK = """
import sys
from pathlib import Path
from loopwright_common.storage import read_parquet_stats
print(read_parquet_stats(Path(sys.argv[1])).rows)
import pyarrow
print(pyarrow.default_memory_pool().max_memory())
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def test_the_ends_are_found_whatever_the_order_and_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "dataset.parquet"
    times = [None, AT.replace(day=3), AT, None, AT.replace(day=9), AT.replace(day=4)]
    parquet.write_table(pa.table({"time": times}), file, row_group_size=2)

    assert read_parquet_stats(file) == ParquetStats(6, AT, AT.replace(day=9))


def test_a_small_file_of_many_equal_times_takes_little_memory(tmp_path: Path) -> None:
    file, rows = tmp_path / "dataset.parquet", 40_000_000
    times = pa.array(np.zeros(rows, np.int64), pa.timestamp("us"))
    parquet.write_table(pa.table({"time": times}), file, compression="zstd", row_group_size=rows)
    counted, _, peak = measured(file)

    assert file.stat().st_size < 1 << 20
    assert counted == rows
    assert peak << 10 < 8 * rows, "less than the column takes"


def test_a_time_that_no_calendar_has_is_told(tmp_path: Path) -> None:
    file = tmp_path / "dataset.parquet"
    parquet.write_table(pa.table({"time": pa.array([1 << 60], pa.timestamp("us"))}), file)

    with pytest.raises(pa.ArrowInvalid, match="within the years 1 to 9999"):
        read_parquet_stats(file)


def test_a_large_file_in_one_piece_takes_little_memory(tmp_path: Path) -> None:
    file, rows = tmp_path / "dataset.parquet", 8_000_000
    times = pa.array(np.random.default_rng(0).integers(0, 1 << 50, rows), pa.timestamp("us"))
    table = pa.table({"time": times})
    parquet.write_table(table, file, row_group_size=rows, use_dictionary=False)
    counted, allocated, _ = measured(file)

    assert file.stat().st_size > 60 << 20
    assert counted == rows
    assert allocated < 8 << 20


def measured(file: Path) -> tuple[int, int, int]:
    """The rows that were counted, bytes that Arrow had at most, and KiB of the whole process."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, file], capture_output=True, text=True, check=True
    )
    counted, allocated, peak = map(int, ended.stdout.split())
    return counted, allocated, peak


def test_times_of_nanoseconds_are_told_by_their_microseconds(tmp_path: Path) -> None:
    times = pa.array([1_000_001, 2_000_003], pa.timestamp("ns"))
    parquet.write_table(pa.table({"time": times}), tmp_path / "rows.parquet")

    stats = read_parquet_stats(tmp_path / "rows.parquet")

    assert [stats.first, stats.last] == [
        datetime(1970, 1, 1, microsecond=each * 1000, tzinfo=UTC) for each in (1, 2)
    ]

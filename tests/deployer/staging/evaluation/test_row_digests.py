"""Which rows of a table a Parquet file has too, whatever the types they are written in."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.errors import InvalidError
from loopwright_deployer.staging.evaluation import row_digests
from loopwright_deployer.staging.evaluation.row_digests import rows_found_in

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-2, 2),
        st.none() | st.sampled_from([0.0, 0.5, -0.5]),
        st.none() | st.text("ab", max_size=2),
        st.none() | st.lists(st.none() | st.integers(0, 1), max_size=3),
    ),
    max_size=30,
)
TYPES = pa.schema({"n": pa.int64(), "x": pa.float64(), "t": pa.string(), "l": pa.list_(pa.int64())})


def found(own: pa.Table, other: pa.Table, directory: Path, *needed: str) -> list[bool]:
    path = directory / "training.parquet"
    pq.write_table(other, path, row_group_size=7)
    return list(rows_found_in(own, path, needed).rows.tolist())


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * 4
    arrays = [pa.array(list(each), field.type) for each, field in zip(columns, TYPES, strict=True)]
    return pa.table(arrays, schema=TYPES)


@given(own=ROWS, other=ROWS)
def test_rows_are_found_as_a_comparison_of_all_with_all_finds_them(
    own: list[tuple[Any, ...]], other: list[tuple[Any, ...]], tmp_path_factory: Any
) -> None:
    directory = tmp_path_factory.mktemp("rows")

    assert found(table_of(own), table_of(other), directory) == [row in other for row in own]


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (pa.array([1, 2, None]), pa.array([1.0, 2.0, math.nan])),
        (pa.array([1, 0, None]), pa.array([True, False, None])),
        (pa.array([0.0, 0.1]), pa.array([-0.0, np.float32(0.1)], pa.float32())),
        (pa.array([Decimal("1.50")]), pa.array([1.5])),
        (pa.array(["a", None]).dictionary_encode(), pa.array(["a", None], pa.large_string())),
        (
            pa.array([NOON], pa.timestamp("ns", "Europe/Berlin")),
            pa.array([NOON], pa.timestamp("s")),
        ),
        (pa.array([date(2026, 1, 1)]), pa.array([datetime(2026, 1, 1)], pa.timestamp("ms"))),  # noqa: DTZ001
        (
            pa.array([[1, 2], None, []]),
            pa.array([[1.0, 2.0], None, []], pa.large_list(pa.float64())),
        ),
        (pa.array([[[1], [2, 3]]]), pa.array([[[1.0], [2.0, 3.0]]])),
        (
            pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2),
            pa.array([[1.0, 2.0], [3.0, 4.0]]),
        ),
        (pa.nulls(2), pa.array(["a", None])),
        (pa.nulls(1), pa.array([[1]])),
    ],
    ids=str,
)
def test_the_same_value_is_the_same_whatever_its_type(
    own: pa.Array, other: pa.Array, tmp_path: Path
) -> None:
    expected = [value.as_py() is not None or own.type != pa.null() for value in own]
    if own.type == pa.null():
        expected = [None in other.to_pylist()] * len(own)

    assert found(pa.table({"a": own}), pa.table({"a": other}), tmp_path) == expected


def test_items_in_another_order_are_another_list(tmp_path: Path) -> None:
    own, other = (pa.table({"a": pa.array(rows)}) for rows in ([[1, 2], [1]], [[2, 1], [1, 0]]))

    assert found(own, other, tmp_path) == [False, False]


def test_columns_that_both_have_tell_but_never_where_pandas_had_the_row(tmp_path: Path) -> None:
    own = pa.table({"a": [1, 2], "new": [5, 5], "__index_level_0__": [0, 1]})
    other = pa.table({"a": [2, 3], "old": [7, 7], "__index_level_0__": [8, 9]})

    assert found(own, other, tmp_path, "a") == [False, True]


def test_a_column_that_nobody_needs_and_that_cannot_be_compared_is_left_out(tmp_path: Path) -> None:
    own, other = (pa.table({"a": [1, 2], "key": [key, key]}) for key in (b"1", b"2"))

    assert found(own, other, tmp_path, "a") == [True, True]


def test_a_number_of_the_row_tells_rows_apart_that_hold_the_same(tmp_path: Path) -> None:
    own, other = (pa.table({"a": [1, 1], "id": ids}) for ids in ([1, 2], [2, 3]))

    assert found(own, other, tmp_path) == [False, True]


def test_how_many_rows_of_the_file_repeat_others_is_told(tmp_path: Path) -> None:
    path = tmp_path / "training.parquet"
    pq.write_table(pa.table({"a": [1, 1, 1, 2, 3, 4]}), path, row_group_size=2)

    assert rows_found_in(pa.table({"a": [9]}), path, ()).repeated == 0.5


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        ({"b": [1]}, {"a": [1]}, "lacks a, b"),
        ({"a": [1], "b": [1]}, {"a": ["1"], "b": [1]}, "cannot be compared by column a, which is"),
        (
            {"a": [{"x": 1}], "b": [1]},
            {"a": [{"x": 1}], "b": [1]},
            "cannot be compared by column a",
        ),
        ({"a": [b"1"], "b": [1]}, {"a": [b"1"], "b": [1]}, "cannot be compared by column a"),
    ],
)
def test_what_cannot_be_compared_is_told(
    own: dict[str, Any], other: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidError, match=why):
        found(pa.table(own), pa.table(other), tmp_path, "a", "b")


def test_a_file_of_too_many_values_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_digests, "MOST_VALUES", 5)
    small, large = pa.table({"a": [[1, 2, 3], [4, 5]]}), pa.table({"a": [[1, 2, 3], [4, 5, 6]]})

    assert found(small, small, tmp_path) == [True, True]
    with pytest.raises(InvalidError, match="has 6 values, and at most 5 are looked through"):
        found(small, large, tmp_path)

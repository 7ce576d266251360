"""A dataset is somebody else's file: read within a budget, or left with the reason."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from loopwright_common.errors import InvalidError
from loopwright_monitor.references import dataset_reader, reference_from_dataset
from loopwright_monitor.references.dataset_reader import LARGEST_UNPACKED, read_dataset
from loopwright_monitor.watched.version_repository import WatchedVersions
from tests.monitor.harness import MonitorHarness

MIB = 1 << 20


def written(*tables: pa.Table, **options: Any) -> bytes:
    """A file with a row group for each table; without `store_schema` texts are plain."""
    sink = pa.BufferOutputStream()
    schema = tables[0].schema
    with parquet.ParquetWriter(sink, schema, store_schema=False, **options) as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(sink.getvalue())


def repeated(text: str, rows: int) -> pa.Table:
    return pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * rows), [text])})


def one_number_again_and_again() -> bytes:
    million = pa.table({"x": pa.array([0.0]).take(pa.array([0] * MIB))})
    return written(*[million] * (LARGEST_UNPACKED // (8 * MIB) + 1))


def one_text_again_and_again() -> bytes:
    return written(repeated("a" * MIB, LARGEST_UNPACKED // MIB + 1))


def one_page_of_nothing() -> bytes:
    return written(*[repeated(" " * 64 * MIB, 1)] * (LARGEST_UNPACKED // (64 * MIB)))


@pytest.mark.parametrize(
    "bomb", [one_number_again_and_again, one_text_again_and_again, one_page_of_nothing]
)
def test_what_takes_more_than_the_budget_is_refused(bomb: Callable[[], bytes]) -> None:
    body = bomb()
    assert len(body) < LARGEST_UNPACKED // 10
    with pytest.raises(InvalidError, match=r"takes 1,\d+ MiB.*register a sample"):
        read_dataset(body)


def test_numbers_and_texts_are_read_as_they_were_written() -> None:
    table = pa.table(
        {
            "number": [1.5, None, 2.5],
            "text": ["a", "b", None],
            "category": pa.array(["p", "q", "p"]).dictionary_encode(),
            "time": pa.array([3, 1, 2], pa.timestamp("us", "UTC")),
            "yes": [True, None, False],
        }
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)

    assert read_dataset(bytes(sink.getvalue())).equals(table)


def test_what_is_not_compared_is_not_read() -> None:
    table = pa.table({"lists": [["a"]], "bytes": [b"a"], "digits": pa.array([b"ab"], pa.binary(2))})
    assert read_dataset(written(table)).column_names == []


@pytest.mark.parametrize("other", ["x", "x.y"])
def test_columns_that_cannot_be_told_apart_are_refused(other: str) -> None:
    table = pa.table([pa.array([1]), pa.array([b"a"])], names=["x", other])
    with pytest.raises(InvalidError, match="are called x: rename"):
        read_dataset(written(table))


def test_texts_without_letters_are_read() -> None:
    assert read_dataset(written(repeated("", 2))).to_pydict() == {"x": ["", ""]}


async def test_the_version_says_why_its_dataset_was_not_read(
    harness: MonitorHarness, training: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_reader, "LARGEST_UNPACKED", 1 << 10)
    await harness.register(training)
    await harness.settle()
    assert "MiB when it is read, more than 0" in await why(harness)

    monkeypatch.setattr(reference_from_dataset, "LARGEST_FILE", 1 << 10)
    await harness.register(training, version=2)
    await harness.settle()
    assert "dataset has more than 0 MiB: register a sample" in await why(harness, 2)


async def why(harness: MonitorHarness, version: int = 1) -> str:
    async with harness.database.read() as connection:
        found = await WatchedVersions(connection).get("m1", version)
    assert found is not None
    assert found.profile_state == "collecting"
    return found.profile_why

"""Datasets that others made are read where a damaged one ends nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory
from loopwright_deployer.staging.evaluation import holdout_reader
from loopwright_deployer.staging.evaluation.holdout_rows import Training, UnusableHoldoutError
from loopwright_deployer.staging.staging_readers import StagingReaders
from loopwright_deployer.staging.warm_processes import WarmProcessPool
from tests.deployer.staging.scorers import scorer_command

START = datetime(2026, 1, 1, tzinfo=UTC)


def readers_in(tmp_path: Path, memory: int = 8 << 30) -> StagingReaders:
    command = replace(scorer_command(tmp_path), memory=memory)
    store = FilesystemStore(tmp_path / "artifacts")
    environments = EnvironmentDirectory(tmp_path / "environments", IndexAccess())
    return StagingReaders(store, WarmProcessPool(command), command, environments)


@pytest.fixture
def readers(tmp_path: Path) -> StagingReaders:
    return readers_in(tmp_path)


async def kept(
    tmp_path: Path, content: bytes, target: str = "y", role: str = "holdout", **more: Any
) -> Dataset:
    blob = await FilesystemStore(tmp_path / "artifacts").put(content)
    fields = {"role": role, "digest": blob.digest, "location": "x", "rows": 5, "target": target}
    return Dataset.model_validate({**fields, **more})


def parquet(path: Path, *, days: range = range(5), dated: bool = True) -> bytes:
    """A row a day, the last one without a label."""
    columns: dict[str, Any] = {"a": [None if day == 1 else day + 0.5 for day in days]}
    columns["y"] = [None if day == 4 else day % 2 for day in days]
    if dated:
        columns["time"] = [START + timedelta(days=day) for day in days]
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


async def training(tmp_path: Path, content: bytes, version: int = 1, **more: Any) -> Training:
    dataset = await kept(tmp_path, content, role="training", **more)
    return Training(version, dataset, ("a",))


async def test_the_rows_come_as_they_are(tmp_path: Path, readers: StagingReaders) -> None:
    dataset = await kept(tmp_path, parquet(tmp_path / "rows.parquet"))

    everything = await readers.read_holdout(dataset, [], False)

    assert (everything.rows, everything.truth()) == (4, [0, 1, 0, 1])
    assert everything.columns["a"] == [0.5, None, 2.5, 3.5]
    assert not list((tmp_path / "scratch").iterdir())


async def test_rows_that_a_version_was_trained_on_are_left_out(
    tmp_path: Path, readers: StagingReaders
) -> None:
    """Without times, and of a training that is known by no time that a row has."""
    dataset = await kept(tmp_path, parquet(tmp_path / "rows.parquet", dated=False))
    old = parquet(tmp_path / "old.parquet", days=range(2), dated=False)
    trainings = [
        await training(tmp_path, old, 1, until=START),
        await training(tmp_path, parquet(tmp_path / "b", days=range(1, 3), dated=False), 2),
    ]

    for by_time in (False, True):
        found = await readers.read_holdout(dataset, trainings, by_time)

        assert (found.columns["a"], found.rows) == ([3.5], 1)
        assert (found.learned, found.untold, found.later_than) == ({1: 2, 2: 2}, {}, None)


async def test_where_rows_repeat_by_chance_one_that_is_alike_was_not_learned(
    tmp_path: Path, readers: StagingReaders
) -> None:
    """Two columns of two values each: every row that there can be is in every training."""
    columns: dict[str, Any] = {"a": [0, 0, 1, 1] * 50, "y": [0, 1] * 100}
    pq.write_table(pa.table(columns), tmp_path / "few")
    content = (tmp_path / "few").read_bytes()
    pq.write_table(pa.table({**columns, "id": range(200)}), tmp_path / "numbered")
    numbered = (tmp_path / "numbered").read_bytes()

    of_both = await readers.read_holdout(
        await kept(tmp_path, content), [await training(tmp_path, content)], False
    )
    told_apart = await readers.read_holdout(
        await kept(tmp_path, numbered), [await training(tmp_path, numbered)], False
    )

    assert (of_both.rows, of_both.learned) == (200, {})
    assert of_both.untold[1].startswith("100% of its training rows hold what another one holds")
    assert (told_apart.rows, told_apart.learned, told_apart.untold) == (0, {1: 200}, {})


async def test_rows_with_times_are_later_too(tmp_path: Path, readers: StagingReaders) -> None:
    dataset = await kept(tmp_path, parquet(tmp_path / "rows.parquet"))
    dated = {"from": START, "until": START + timedelta(days=1)}
    first = await training(tmp_path, parquet(tmp_path / "1", days=range(1)), 1, **dated)
    second = await training(tmp_path, parquet(tmp_path / "2", days=range(3, 4)), 2)

    found = await readers.read_holdout(dataset, [first, second], True)
    of_both = await readers.read_holdout(dataset, [first, second], False)

    assert found.columns["time"] == ["2026-01-03T00:00:00+00:00"]
    assert (found.learned, found.later_than) == ({1: 0, 2: 1}, dated["until"])
    assert (of_both.columns["a"], of_both.learned) == ([None, 2.5], {1: 1, 2: 1})


@pytest.mark.parametrize("dated", [True, False])
async def test_of_a_training_that_cannot_be_looked_through_times_tell(
    tmp_path: Path, readers: StagingReaders, dated: bool
) -> None:
    dataset = await kept(tmp_path, parquet(tmp_path / "rows.parquet", dated=dated))
    until = START + timedelta(days=1)
    columns = pa.table({"y": [0, 1]})
    pq.write_table(columns, tmp_path / "lacking")
    trainings = [
        await training(tmp_path, b"no Parquet at all", 1, until=until),
        await training(tmp_path, (tmp_path / "lacking").read_bytes(), 2, until=until),
        Training(3, Dataset.model_validate({**trained_on(), "until": until}), ("a",)),
    ]

    of_both = await readers.read_holdout(dataset, trainings, False)
    found = await readers.read_holdout(dataset, trainings, True)

    assert of_both.rows == 4
    assert found.rows == (2 if dated else 0)
    assert found.learned == {}
    assert "cannot be read" in found.untold[1]
    assert found.untold[2] == "its training dataset lacks a"
    assert found.untold[3].startswith("its training dataset cannot be had")


async def test_a_training_that_ends_its_reader_ends_no_comparison(tmp_path: Path) -> None:
    """Its one text takes more memory than a process may have."""
    readers = readers_in(tmp_path, memory=1 << 30)
    pq.write_table(pa.table({"y": [0, 1], "a": ["x", "y"]}), tmp_path / "rows.parquet")
    dataset = await kept(tmp_path, (tmp_path / "rows.parquet").read_bytes())
    vast = pa.table({"y": [0], "a": ["x" * (300 << 20)]})
    pq.write_table(vast, tmp_path / "vast", compression="zstd", use_dictionary=False)
    vast_training = await training(tmp_path, (tmp_path / "vast").read_bytes(), until=START)

    found = await readers.read_holdout(dataset, [vast_training], False)

    assert (found.rows, found.learned) == (2, {})
    assert "(Parquet, training of version 1) ended the process that opened it" in found.untold[1]


def trained_on() -> dict[str, Any]:
    digest = "sha256:" + "9" * 64
    return {"role": "training", "digest": digest, "location": "x", "rows": 5, "target": "y"}


async def test_a_damaged_dataset_is_named(tmp_path: Path, readers: StagingReaders) -> None:
    whole = parquet(tmp_path / "rows.parquet")
    damaged = await kept(tmp_path, whole[:200] + bytes(40) + whole[240:])
    sound = await training(tmp_path, parquet(tmp_path / "other", days=range(1)))
    with pytest.raises(InvalidError, match=r"\.parquet (is damaged|\(Parquet\) ended)"):
        await readers.read_holdout(damaged, [sound], False)

    without = await kept(tmp_path, whole, target="absent")
    with pytest.raises(UnusableHoldoutError, match="no target column 'absent'"):
        await readers.read_holdout(without, [], False)


@pytest.mark.parametrize(
    "times",
    [
        pa.array(["Lunch", "Dinner"]).dictionary_encode(),
        pa.array(["Lunch", "Dinner"]),
        pa.array([[1], [2]]),
        pa.array([1.5, 2.5]),
        pa.array([0, 1], pa.time64("us")),
    ],
    ids=str,
)
async def test_a_column_time_that_is_no_time_orders_and_dates_nothing(
    tmp_path: Path, readers: StagingReaders, times: pa.Array
) -> None:
    pq.write_table(pa.table({"a": [1.5, 2.5], "y": [0, 1], "time": times}), tmp_path / "meals")
    dataset = await kept(tmp_path, (tmp_path / "meals").read_bytes())
    dated = {"from": START, "until": START + timedelta(days=1)}
    lost = [await training(tmp_path, b"no Parquet", 1, **dated)]

    assert (await readers.read_holdout(dataset, [], False)).rows == 2
    assert (await readers.read_holdout(dataset, lost, True)).rows == 0


async def test_times_of_nanoseconds_and_decimals_are_read(
    tmp_path: Path, readers: StagingReaders
) -> None:
    times = pa.array([1_767_225_600_000_000_001, 1_767_312_000_000_000_001], pa.timestamp("ns"))
    columns = {"a": [Decimal("1.50"), Decimal("2.50")], "y": [0, 1], "time": times}
    pq.write_table(pa.table(columns), tmp_path / "exact")
    dataset = await kept(tmp_path, (tmp_path / "exact").read_bytes())
    lost = [await training(tmp_path, b"no Parquet", 1, until=START - timedelta(days=1))]

    found = await readers.read_holdout(dataset, lost, True)

    assert found.columns["a"] == [1.5, 2.5]


async def test_of_rows_with_many_values_fewer_are_read(
    tmp_path: Path, readers: StagingReaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdout_reader, "_MOST_BYTES", 4_000)
    wide = pa.table({"a": [[float(row)] * 10 for row in range(100)], "y": [0, 1] * 50})
    pq.write_table(wide, tmp_path / "wide")
    dataset = await kept(tmp_path, (tmp_path / "wide").read_bytes())

    found = holdout_reader.read_holdout(tmp_path / "wide", dataset)

    assert found.rows == 100
    assert 10 < len(found.truth()) < 50
    assert found.columns["a"][-1][0] == 99.0

"""Datasets that others made are read where a damaged one ends nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory
from loopwright_deployer.staging.evaluation.holdout_rows import UnusableHoldoutError
from loopwright_deployer.staging.staging_readers import StagingReaders
from loopwright_deployer.staging.warm_processes import WarmProcessPool
from tests.deployer.staging.scorers import scorer_command

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def readers(tmp_path: Path) -> StagingReaders:
    command = scorer_command(tmp_path)
    store = FilesystemStore(tmp_path / "artifacts")
    environments = EnvironmentDirectory(tmp_path / "environments", IndexAccess())
    return StagingReaders(store, WarmProcessPool(command), command, environments)


async def kept(tmp_path: Path, content: bytes, target: str = "y") -> Dataset:
    blob = await FilesystemStore(tmp_path / "artifacts").put(content)
    return Dataset(role="holdout", digest=blob.digest, location="x", rows=5, target=target)


def parquet(path: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = [START + timedelta(days=day) for day in range(5)]
    columns = {"a": [1.5, None, 3.5, 4.5, 5.5], "time": times, "y": [0, 1, 0, 1, None]}
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


async def test_the_rows_come_as_they_are(tmp_path: Path, readers: StagingReaders) -> None:
    dataset = await kept(tmp_path, parquet(tmp_path / "rows.parquet"))

    everything = await readers.read_holdout(dataset, None)
    later = await readers.read_holdout(dataset, START + timedelta(days=1))

    assert (everything.rows, everything.truth()) == (4, [0, 1, 0, 1])
    assert everything.columns["a"] == [1.5, None, 3.5, 4.5]
    assert later.columns["time"] == ["2026-01-03T00:00:00+00:00", "2026-01-04T00:00:00+00:00"]
    assert not list((tmp_path / "scratch").iterdir())


async def test_a_damaged_dataset_is_named(tmp_path: Path, readers: StagingReaders) -> None:
    whole = parquet(tmp_path / "rows.parquet")
    damaged = await kept(tmp_path, whole[:200] + bytes(40) + whole[240:])
    with pytest.raises(InvalidError, match=r"\.parquet (is damaged|\(Parquet\) ended)"):
        await readers.read_holdout(damaged, None)

    without = await kept(tmp_path, whole, target="absent")
    with pytest.raises(UnusableHoldoutError, match="no target column 'absent'"):
        await readers.read_holdout(without, None)

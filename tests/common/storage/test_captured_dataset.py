"""Captured data as its readers see it: pinned, verified, labels joined."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopwright_common.clock import to_text
from loopwright_common.errors import CorruptError, InvalidError, NotFoundError
from loopwright_common.storage.captured_dataset import (
    LabelFile,
    Manifest,
    RowFile,
    materialise,
)
from loopwright_common.storage.captured_tables import labels_to_bytes, table_to_bytes
from loopwright_common.storage.filesystem import FilesystemStore

START = datetime(2026, 1, 1, tzinfo=UTC)


def scored(*ids: str, **columns: Sequence[object]) -> pa.Table:
    count = len(ids)
    return pa.table(
        {
            "prediction_id": list(ids),
            "time": pa.array(
                [START + timedelta(seconds=int(i.split(".")[0][1:])) for i in ids],
                pa.timestamp("us", tz="UTC"),
            ),
            "model": ["bank"] * count,
            "version": pa.array([1] * count, pa.int32()),
            "arm": ["live"] * count,
            "request_id": [f"r-{i}" for i in ids],
            **columns,
        }
    )


async def pin(
    store: FilesystemStore, tables: list[pa.Table], labels: list[bytes], rows: int | None = None
) -> str:
    """Keep the files and their manifest; returns its digest."""
    files = []
    for table in tables:
        blob = await store.put(table_to_bytes(table))
        files.append(RowFile(blob.digest, table.num_rows, to_text(START), to_text(START)))
    said = [LabelFile((await store.put(body)).digest, 1) for body in labels]
    total = sum(table.num_rows for table in tables) if rows is None else rows
    manifest = Manifest(
        model_id="m1", model="bank", files=tuple(files), labels=tuple(said), rows=total, labelled=0
    )
    return (await store.put(manifest.to_bytes())).digest


def at(second: int) -> datetime:
    return START + timedelta(hours=1, seconds=second)


@pytest.fixture
def artifacts(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path / "artifacts")


async def test_without_a_digest_the_table_is_empty_with_its_columns(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    assert await materialise(artifacts, None, tmp_path) == 0

    assert pq.read_table(tmp_path / "captured.parquet").column_names == [
        "prediction_id", "time", "model", "version", "arm", "request_id", "label", "label_time",
    ]  # fmt: skip


async def test_rows_come_in_time_order_whatever_the_order_of_files(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    digest = await pin(artifacts, [scored("p5.0", "p9.0"), scored("p1.0", "p7.0")], [])

    assert await materialise(artifacts, digest, tmp_path) == 4

    table = pq.read_table(tmp_path / "captured.parquet")
    assert table["prediction_id"].to_pylist() == ["p1.0", "p5.0", "p7.0", "p9.0"]


async def test_the_latest_label_of_an_id_wins_whatever_the_order_of_files(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    late = labels_to_bytes(["p1.0"], "prediction", ["yes"], at(9))
    early = labels_to_bytes(["p1.0", "p2.0"], "prediction", ["no", "no"], at(1))
    digest = await pin(artifacts, [scored("p1.0", "p2.0", "p3.0")], [late, early])

    await materialise(artifacts, digest, tmp_path)

    table = pq.read_table(tmp_path / "captured.parquet")
    assert table["label"].to_pylist() == ["yes", "no", None]
    assert table["label_time"].to_pylist() == [at(9), at(1), None]


async def test_a_label_by_request_id_reaches_its_row(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    digest = await pin(
        artifacts,
        [scored("p1.0", "p2.0")],
        [
            labels_to_bytes(["r-p1.0", "r-p2.0"], "request", [0, 0], at(1)),
            labels_to_bytes(["p2.0"], "prediction", [1], at(1)),
        ],
    )

    await materialise(artifacts, digest, tmp_path)

    assert pq.read_table(tmp_path / "captured.parquet")["label"].to_pylist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([1, 2], [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([True, False], [True, False]),
        ([None, 3], [None, 3]),
        (["a", 1], ["a", "1"]),
    ],
)
async def test_labels_keep_their_type_where_they_agree_on_one(
    artifacts: FilesystemStore, tmp_path: Path, given: list[object], expected: list[object]
) -> None:
    said = labels_to_bytes(["p1.0", "p2.0"], "prediction", given, at(1))  # type: ignore[arg-type]
    digest = await pin(artifacts, [scored("p1.0", "p2.0")], [said])

    await materialise(artifacts, digest, tmp_path)

    assert pq.read_table(tmp_path / "captured.parquet")["label"].to_pylist() == expected


async def test_files_of_versions_with_other_inputs_share_one_table(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    old = scored("p1.0", **{"input.age": [30]})
    columns: dict[str, Sequence[object]] = {"input.age": [31.5], "input.job": ["clerk"]}
    new = scored("p2.0", **columns)
    digest = await pin(artifacts, [old, new], [])

    await materialise(artifacts, digest, tmp_path)

    table = pq.read_table(tmp_path / "captured.parquet")
    assert table["input.age"].to_pylist() == [30.0, 31.5]
    assert table["input.job"].to_pylist() == [None, "clerk"]


async def test_rows_whose_types_of_a_column_conflict_are_refused_by_its_name(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    whole, text = scored("p1.0", **{"input.age": [30]}), scored("p2.0", **{"input.age": ["old"]})
    digest = await pin(artifacts, [whole, scored("p3.0"), text], [])

    with pytest.raises(
        InvalidError, match=r"column input\.age is int64 in some rows and string in"
    ):
        await materialise(artifacts, digest, tmp_path / "out")

    assert not (tmp_path / "out").exists()


async def test_a_manifest_that_promises_other_rows_is_refused_and_nothing_is_written(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    digest = await pin(artifacts, [scored("p1.0")], [], rows=2)

    with pytest.raises(CorruptError, match="has 1 rows, its manifest 2"):
        await materialise(artifacts, digest, tmp_path / "out")

    assert not (tmp_path / "out").exists()


async def test_an_artifact_that_is_no_manifest_is_refused(
    artifacts: FilesystemStore, tmp_path: Path
) -> None:
    blob = await artifacts.put(b"{}")
    with pytest.raises(CorruptError, match="not a captured manifest"):
        await materialise(artifacts, blob.digest, tmp_path)


async def test_a_missing_file_is_named(artifacts: FilesystemStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no artifact sha256:0000"):
        await materialise(artifacts, "sha256:" + "0" * 64, tmp_path)


def test_equal_tables_give_equal_bytes() -> None:
    assert table_to_bytes(scored("p1.0")) == table_to_bytes(scored("p1.0"))

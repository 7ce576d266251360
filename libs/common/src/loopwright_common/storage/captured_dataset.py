"""Captured data: scored rows with the labels that came, pinned by the digest of a manifest.

The manifest is canonical JSON naming row files and label files by digest, so a digest means the
same rows for ever. Labels are joined when the data is read.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopwright_common.errors import CorruptError
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.captured_tables import join_labels, read_labels, read_rows

FORMAT = "loopwright-captured/1"
FILE_NAME = "captured.parquet"


@dataclass(frozen=True, slots=True)
class RowFile:
    """A Parquet file of scored rows; `first` and `last` are RFC 3339 times of its rows."""

    digest: str
    rows: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A Parquet file of labels, by its digest."""

    digest: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Which rows and labels are meant; `labelled` of the `rows` had a label when it was pinned."""

    model_id: str
    model: str
    files: tuple[RowFile, ...]
    labels: tuple[LabelFile, ...]
    rows: int
    labelled: int

    def to_bytes(self) -> bytes:
        """Canonical JSON: its digest is the dataset's identity."""
        fields = {
            "format": FORMAT,
            "from": min((file.first for file in self.files), default=None),
            "until": max((file.last for file in self.files), default=None),
            **asdict(self),
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> "Manifest":
        """CorruptError when the bytes are no manifest of this format."""
        try:
            fields = json.loads(body)
            if fields["format"] != FORMAT:
                raise CorruptError(
                    f"captured manifest of format {fields['format']!r}, not {FORMAT}"
                )
            return cls(
                model_id=fields["model_id"],
                model=fields["model"],
                files=tuple(RowFile(**file) for file in fields["files"]),
                labels=tuple(LabelFile(**file) for file in fields["labels"]),
                rows=fields["rows"],
                labelled=fields["labelled"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"not a captured manifest: {error!r}") from None


async def materialise(store: ArtifactStore, digest: str | None, directory: Path) -> int:
    """Write the pinned rows to `directory/captured.parquet`, whole or not at all.

    Rows are sorted by time and prediction id, labels joined. Without a digest the table is empty.
    Returns the number of rows. NotFoundError for a file that the store lacks, CorruptError for one
    that is not what the manifest promised, InvalidError where the types of a column conflict.
    """
    rows: list[bytes] = []
    labels: list[bytes] = []
    expected = 0
    if digest is not None:
        manifest = Manifest.from_bytes(await store.get(digest))
        rows = [await store.get(file.digest) for file in manifest.files]
        labels = [await store.get(file.digest) for file in manifest.labels]
        expected = manifest.rows
    return await asyncio.to_thread(_write_joined, rows, labels, expected, directory)


def _write_joined(
    rows: Sequence[bytes], labels: Sequence[bytes], expected: int, directory: Path
) -> int:
    table = read_rows(rows)
    if table.num_rows != expected:
        raise CorruptError(f"captured data has {table.num_rows} rows, its manifest {expected}")
    joined = join_labels(table, read_labels(labels))
    ordered = joined.sort_by([("time", "ascending"), ("prediction_id", "ascending")])
    _write_whole(ordered, directory / FILE_NAME)
    return int(ordered.num_rows)


def _write_whole(table: pa.Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)

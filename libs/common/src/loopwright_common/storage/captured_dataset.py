"""Captured data: scored rows with the labels that came, pinned by the digest of a manifest.

The manifest is canonical JSON naming row files and label files by digest, so a digest means the
same rows for ever. Row files hold `ROW_COLUMNS` and then `input.*` and `output.*` columns; label
files hold `LABEL_SCHEMA`. Labels are joined when the data is read, the latest label of an id wins.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopwright_common.errors import CorruptError
from loopwright_common.storage.artifact_store import ArtifactStore

FORMAT = "loopwright-captured/1"
FILE_NAME = "captured.parquet"
IdKind = Literal["prediction", "request"]
Label = str | float | int | bool | None

_TIME = pa.timestamp("us", tz="UTC")
ROW_COLUMNS = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("time", _TIME),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("arm", pa.string()),
        ("request_id", pa.string()),
    ]
)
LABEL_SCHEMA = pa.schema(
    [("id", pa.string()), ("kind", pa.string()), ("label", pa.string()), ("at", _TIME)]
)
"""`label` is the label as JSON, so that one column carries every type; null takes a label back."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A Parquet file of scored rows; `first` and `last` are RFC 3339 times of its rows."""

    digest: str
    rows: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class LabelFile:
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
    Returns the number of rows; CorruptError when any file is not what the manifest promised.
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


def labels_to_bytes(ids: Sequence[str], kind: IdKind, labels: Sequence[Label], at: object) -> bytes:
    """A label file: one row per id, all labelled at the moment `at`."""
    table = pa.table(
        {
            "id": list(ids),
            "kind": [kind] * len(ids),
            "label": [None if label is None else json.dumps(label) for label in labels],
            "at": [at] * len(ids),
        },
        schema=LABEL_SCHEMA,
    )
    return table_to_bytes(table)


def table_to_bytes(table: pa.Table) -> bytes:
    """The table as Parquet; equal tables give equal bytes."""
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_rows(files: Iterable[bytes]) -> pa.Table:
    """Row files as one table; a column that a file lacks is null in its rows."""
    tables = [pq.read_table(BytesIO(body)) for body in files]
    return pa.concat_tables([ROW_COLUMNS.empty_table(), *tables], promote_options="permissive")


def join_labels(rows: pa.Table, labels: pa.Table) -> pa.Table:
    """Append `label` and `label_time`: the latest label of an id, prediction ids come first."""
    label, time = _looked_up(rows["prediction_id"], _of_kind(labels, "prediction"))
    by_request, request_time = _looked_up(rows["request_id"], _of_kind(labels, "request"))
    found = pc.is_valid(label)
    label = pc.if_else(found, label, by_request)
    time = pc.if_else(found, time, request_time)
    return rows.append_column("label", _typed(label)).append_column("label_time", time)


def _write_joined(
    rows: Sequence[bytes], labels: Sequence[bytes], expected: int, directory: Path
) -> int:
    try:
        table = read_rows(rows)
        said = pa.concat_tables(
            [LABEL_SCHEMA.empty_table(), *(pq.read_table(BytesIO(body)) for body in labels)]
        )
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(f"captured data does not read as Parquet: {error}") from None
    if table.num_rows != expected:
        raise CorruptError(f"captured data has {table.num_rows} rows, its manifest {expected}")
    joined = join_labels(table, said)
    ordered = joined.sort_by([("time", "ascending"), ("prediction_id", "ascending")])
    _write_whole(ordered, directory / FILE_NAME)
    return int(ordered.num_rows)


def _of_kind(labels: pa.Table, kind: IdKind) -> pa.Table:
    """One row per id, the latest; of equal times the one that stands later."""
    mine = labels.filter(pc.equal(labels["kind"], kind))
    order = pa.array(range(mine.num_rows), pa.int64())
    newest_first = mine.append_column("order", order).sort_by(
        [("at", "descending"), ("order", "descending")]
    )
    ids = newest_first["id"].combine_chunks()
    first_places = pc.index_in(pc.unique(ids), value_set=ids)
    return newest_first.take(first_places)


def _looked_up(keys: pa.ChunkedArray, labels: pa.Table) -> tuple[pa.Array, pa.Array]:
    places = pc.index_in(keys.combine_chunks(), value_set=labels["id"].combine_chunks())
    label, at = labels["label"].combine_chunks(), labels["at"].combine_chunks()
    taken = label.take(places)
    return taken, pc.if_else(pc.is_valid(taken), at.take(places), pa.scalar(None, _TIME))


def _typed(label: pa.Array) -> pa.Array:
    """JSON labels as values of one type; text where they do not agree on one."""
    encoded = label.dictionary_encode()
    values = [json.loads(text) for text in encoded.dictionary.to_pylist()]
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        values = [float(value) for value in values]
    elif len(kinds) > 1 or not kinds:
        values = [value if isinstance(value, str) else json.dumps(value) for value in values]
    typed = pa.array(values, None if values else pa.string())
    return typed.take(encoded.indices)


def _write_whole(table: pa.Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)

"""Captured rows and labels as tables, and those joined.

Row files hold `ROW_COLUMNS` and then `input.*` and `output.*` columns; label files hold
`LABEL_SCHEMA`. The latest label of an id wins. The schema's metadata of a row file names, as a JSON
list under `redacted`, the inputs that were left out of it on purpose, where there are any.
"""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopwright_common.errors import CorruptError, InvalidError, without_paths

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
_REDACTED = b"redacted"


def labels_to_bytes(ids: Sequence[str], kind: IdKind, labels: Sequence[Label], at: object) -> bytes:
    """A label file: one row per id, all labelled at the time `at`, an aware datetime."""
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


def without_redacted(rows: pa.Table, redacted: Sequence[str]) -> pa.Table:
    """The rows, which lack the `redacted` inputs, saying so in their metadata."""
    if not redacted:
        return rows
    metadata = {**(rows.schema.metadata or {}), _REDACTED: json.dumps(list(redacted))}
    return rows.replace_schema_metadata(metadata)


def redacted_of(schema: pa.Schema) -> list[str]:
    """The inputs that were left out of a row file on purpose; CorruptError for what is no list."""
    text = (schema.metadata or {}).get(_REDACTED, b"[]")
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list):
        raise CorruptError(f"captured data names no list of redacted inputs: {text[:100]!r}")
    return [str(name) for name in names]


def read_rows(files: Iterable[bytes]) -> pa.Table:
    """Row files as one table; a column that a file lacks is null in its rows.

    CorruptError for what is no Parquet; InvalidError names a column that has two types of which
    neither holds the other's values, and both types.
    """
    tables = [ROW_COLUMNS.empty_table(), *(_read(body) for body in files)]
    for name, (one, other) in conflicting_columns([table.schema for table in tables]).items():
        raise InvalidError(
            f"column {name} is {one} in some rows and {other} in others, so they make no one "
            "table: give the versions that differ in it models of different names",
            field=name,
        )
    return pa.concat_tables(tables, promote_options="permissive")


def read_labels(files: Iterable[bytes]) -> pa.Table:
    """Label files as one table, in their order; CorruptError for what is none."""
    tables = [LABEL_SCHEMA.empty_table(), *(_read(body) for body in files)]
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise CorruptError(f"captured labels have other columns: {error}") from None


def conflicting_columns(
    schemas: Iterable[pa.Schema],
) -> dict[str, tuple[pa.DataType, pa.DataType]]:
    """Columns that come with two types of which none holds both, and the first two such types."""
    common: dict[str, pa.Field] = {}
    conflicts: dict[str, tuple[pa.DataType, pa.DataType]] = {}
    for field in (field for schema in schemas for field in schema):
        known = common.setdefault(field.name, field)
        try:
            both = pa.unify_schemas(
                [pa.schema([known]), pa.schema([field])], promote_options="permissive"
            )
            common[field.name] = both.field(0)
        except pa.ArrowTypeError:
            conflicts.setdefault(field.name, (known.type, field.type))
    return conflicts


def join_labels(rows: pa.Table, labels: pa.Table) -> pa.Table:
    """Append `label` and `label_time` to the rows [n]: the latest label of an id, or null.

    A label by prediction id goes before one by request id.
    """
    label, time = _looked_up(rows["prediction_id"], _of_kind(labels, "prediction"))
    by_request, request_time = _looked_up(rows["request_id"], _of_kind(labels, "request"))
    has_own = pc.is_valid(label)
    label = pc.if_else(has_own, label, by_request)
    time = pc.if_else(has_own, time, request_time)
    return rows.append_column("label", _typed(label)).append_column("label_time", time)


def _read(body: bytes) -> pa.Table:
    try:
        return pq.read_table(BytesIO(body))
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(
            f"captured data does not read as Parquet: {without_paths(error)}"
        ) from None


def _of_kind(labels: pa.Table, kind: IdKind) -> pa.Table:
    """One row per id, the latest; of equal times the one that stands later."""
    mine = labels.filter(pc.equal(labels["kind"], kind))
    order = pa.array(range(mine.num_rows), pa.int64())
    newest_first = mine.append_column("order", order).sort_by(
        [("at", "descending"), ("order", "descending")]
    )
    ids = newest_first["id"].combine_chunks()
    first_positions = pc.index_in(pc.unique(ids), value_set=ids)
    return newest_first.take(first_positions)


def _looked_up(keys: pa.ChunkedArray, labels: pa.Table) -> tuple[pa.Array, pa.Array]:
    positions = pc.index_in(keys.combine_chunks(), value_set=labels["id"].combine_chunks())
    label, at = labels["label"].combine_chunks(), labels["at"].combine_chunks()
    taken = label.take(positions)
    return taken, pc.if_else(pc.is_valid(taken), at.take(positions), pa.scalar(None, _TIME))


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

"""How much memory Arrow and Parquet bodies take when they are unpacked, known before they are.

Both hold lengths of what is compressed, and rows that take no bytes at all.
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from loopwright_common.errors import InvalidError
from loopwright_common.files.parquet_pages import unpacked_size

_VALUES_LIMIT = 1 << 25
_COLUMNS_LIMIT = 10_000
_BATCHES_LIMIT = 10_000
"""Messages of a stream, and pages of a file."""
_VALUE_BYTES, _TEXT_BYTES = 8, 64
"""What a value, and what a text beside its letters, takes in an array of numpy."""
_RECORD_BATCH, _DICTIONARY_BATCH = "record batch", "dictionary"
_SMALLER = "send it in several requests"


class _Table(NamedTuple):
    """A table of a flatbuffer, which pyarrow has verified."""

    buffer: memoryview
    at: int

    def field(self, number: int) -> int | None:
        """Where a field is; None where the table has none."""
        start = self.at - _number(self.buffer, self.at, "<i")
        slot = 4 + 2 * number
        if slot >= _number(self.buffer, start, "<H"):
            return None
        offset = _number(self.buffer, start + slot, "<H")
        return self.at + offset if offset else None

    def table(self, number: int) -> "_Table | None":
        at = self.field(number)
        return None if at is None else _Table(self.buffer, at + _number(self.buffer, at, "<I"))

    def pairs(self, number: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two int64."""
        at = self.field(number)
        if at is None:
            return iter(())
        start = at + _number(self.buffer, at, "<I")
        length = 16 * _number(self.buffer, start, "<I")
        return struct.iter_unpack("<qq", self.buffer[start + 4 :][:length])


def stream_size(body: memoryview) -> int:
    """Bytes of memory that a stream takes, unpacked and as arrays.

    Raises InvalidError for what is no stream, or has more columns or batches than are read.
    """
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        costs = [cost for field in reader.schema for cost in _node_costs(field.type)]
    _check_columns(len(costs))
    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    return sum(_batch_size(message, costs) for message in _limited(messages))


def parquet_size(body: memoryview) -> int:
    """As `stream_size`, of a Parquet file; pages are as large as their own headers say."""
    import pyarrow as pa
    from pyarrow import parquet

    metadata = parquet.read_metadata(pa.BufferReader(pa.py_buffer(body)))
    _check_columns(metadata.num_columns)
    check_size(metadata.num_rows, metadata.num_columns)
    return unpacked_size(body, _BATCHES_LIMIT)


def check_size(rows: int, columns: int) -> None:
    """InvalidError where a table of `rows` by `columns` values is too large."""
    if rows * max(columns, 1) > _VALUES_LIMIT:
        raise InvalidError(f"{rows} rows of {columns} columns are too many: {_SMALLER}")


def _check_columns(count: int) -> None:
    if count > _COLUMNS_LIMIT:
        raise InvalidError(f"{count:,} columns are too many, at most {_COLUMNS_LIMIT:,} are read")


def _limited(messages: Iterable[Any]) -> Iterator[Any]:
    for number, message in enumerate(messages):
        if number > _BATCHES_LIMIT:
            raise InvalidError(f"more than {_BATCHES_LIMIT:,} batches are too many: {_SMALLER}")
        yield message


def _node_costs(kind: Any) -> Iterator[int]:
    """Bytes that each value of a type and of those within it takes, in the order of IPC's nodes."""
    import pyarrow as pa

    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    is_text = pa.types.is_string(storage) or pa.types.is_large_string(storage)
    yield _VALUE_BYTES + (_TEXT_BYTES if is_text else 0)
    if not pa.types.is_dictionary(storage):
        for number in range(storage.num_fields):
            yield from _node_costs(storage.field(number).type)


def _batch_size(message: Any, costs: list[int]) -> int:
    """A batch's values, and its buffers: compressed, they begin with their length."""
    if message.type not in (_RECORD_BATCH, _DICTIONARY_BATCH) or message.body is None:
        return 0
    metadata = memoryview(message.metadata)
    batch = _Table(metadata, _number(metadata, 0, "<I")).table(2)
    if batch is not None and message.type == _DICTIONARY_BATCH:
        batch, costs = batch.table(1), [_VALUE_BYTES + _TEXT_BYTES] * _COLUMNS_LIMIT
    if batch is None:
        return int(message.body.size)
    nodes = zip(batch.pairs(1), costs, strict=False)
    values = sum(max(length, 0) * cost for (length, _), cost in nodes)
    if batch.field(3) is None:
        return values + int(message.body.size)
    body = memoryview(message.body)
    lengths = (_number(body, offset, "<q") for offset, length in batch.pairs(2) if length >= 8)
    return values + sum(max(length, 0) for length in lengths)


def _number(buffer: memoryview, at: int, form: str) -> int:
    try:
        (number,) = struct.unpack_from(form, buffer, at)
    except struct.error as error:
        raise InvalidError(f"the body is no Arrow: {error}") from None
    return int(number)

"""How large Arrow and Parquet bodies become when they are unpacked, known before they are.

Both hold lengths of what is compressed, and rows that take no bytes at all.
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from typing import Any, NamedTuple

from loopwright_common.errors import InvalidError

_BYTES_LIMIT = 1 << 28
_VALUES_LIMIT = 1 << 25
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


def check_stream(body: memoryview) -> None:
    """InvalidError where the buffers of a stream would become too large."""
    import pyarrow as pa

    total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if message.type in (_RECORD_BATCH, _DICTIONARY_BATCH) and message.body is not None:
            total += _unpacked(message)
    _check_bytes(total)


def check_parquet(metadata: Any) -> None:
    """InvalidError where the file says that it would become too large."""
    check_size(metadata.num_rows, metadata.num_columns)
    groups = (metadata.row_group(each) for each in range(metadata.num_row_groups))
    _check_bytes(sum(group.total_byte_size for group in groups))


def check_size(rows: int, columns: int) -> None:
    """InvalidError where a table of `rows` by `columns` values is too large."""
    if rows * max(columns, 1) > _VALUES_LIMIT:
        raise InvalidError(f"{rows} rows of {columns} columns are too many: {_SMALLER}")


def _check_bytes(size: int) -> None:
    if size > _BYTES_LIMIT:
        raise InvalidError(f"the body unpacks to {size} bytes, which are too many: {_SMALLER}")


def _unpacked(message: Any) -> int:
    """Bytes of a batch's buffers, each of which begins with its length where it is compressed."""
    metadata = memoryview(message.metadata)
    batch = _Table(metadata, _number(metadata, 0, "<I")).table(2)
    if batch is not None and message.type == _DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is None or batch.field(3) is None:
        return int(message.body.size)
    body, listed = memoryview(message.body), batch.field(2)
    if listed is None:
        return 0
    start = listed + _number(metadata, listed, "<I")
    spans = struct.iter_unpack("<qq", metadata[start + 4 :][: 16 * _number(metadata, start, "<I")])
    lengths = (_number(body, offset, "<q") for offset, length in spans if length >= 8)
    return sum(max(length, 0) for length in lengths)


def _number(buffer: memoryview, at: int, form: str) -> int:
    try:
        (number,) = struct.unpack_from(form, buffer, at)
    except struct.error as error:
        raise InvalidError(f"the body is no Arrow: {error}") from None
    return int(number)

"""Reads a dataset that others wrote: what it takes unpacked is known before any of it is."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from loopwright_common.errors import InvalidError
from loopwright_common.files.parquet_pages import unpacked_size

LARGEST_FILE = 512 << 20
"""Bytes of a dataset as it is kept."""
LARGEST_UNPACKED = 1 << 30
"""Bytes of it in memory, and of its texts where each row has its own."""
_MOST_PAGES = 100_000


def read_dataset(body: bytes) -> pa.Table:
    """The columns of numbers and texts, since no others are compared.

    InvalidError where they take more than `LARGEST_UNPACKED` bytes or the file is none;
    ArrowException or OSError where its pages do not read.
    """
    source = pa.py_buffer(body)
    schema = parquet.read_schema(pa.BufferReader(source))
    names = _names_to_read(schema)
    unpacked = unpacked_size(memoryview(body), _MOST_PAGES)
    if unpacked > LARGEST_UNPACKED:
        raise _too_large(unpacked)
    texts = [field.name for field in schema if _is_text(field.type)]
    # A text that the file has once for many rows, or for all of them, is then held once.
    with parquet.ParquetFile(pa.BufferReader(source), read_dictionary=texts) as file:
        table = file.read(names)
    written_out = sum(map(_text_bytes, table.columns))
    if written_out > LARGEST_UNPACKED:
        raise _too_large(written_out)
    return table.cast(pa.schema([schema.field(name) for name in table.column_names]))


def _names_to_read(schema: pa.Schema) -> list[str]:
    names = [field.name for field in schema if _is_read(field.type)]
    others = {field.name for field in schema if not _is_read(field.type)}
    # pyarrow also reads `x.y` when it is asked for `x`.
    hidden = {above for name in others for above in accumulate(name.split("."), "{}.{}".format)}
    shared = [name for name, count in Counter(names).items() if count > 1 or name in hidden]
    if shared:
        raise InvalidError(
            f"several columns of the training dataset are called {', '.join(shared)}: rename them"
        )
    return names


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_read(kind: pa.DataType) -> bool:
    """Neither what has values within, nor what is as long as a file says and is not compared."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(value) or any(
        is_such(value)
        for is_such in (
            pa.types.is_boolean,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_temporal,
        )
    )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """What the texts of a column take where each row has its own."""
    return sum(_lengths(column))


def _lengths(column: pa.ChunkedArray) -> Iterator[int]:
    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        for chunk in column.chunks:
            letters = pc.binary_length(chunk.dictionary).cast(pa.int64())
            yield pc.sum(letters.take(chunk.indices)).as_py() or 0


def _too_large(found: int) -> InvalidError:
    return InvalidError(
        f"the training dataset takes {found >> 20:,} MiB when it is read, more than "
        f"{LARGEST_UNPACKED >> 20:,}: register a sample of it"
    )

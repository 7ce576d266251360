"""Arrow IPC and Parquet as bodies: for large batches, whose numbers are then not copied.

What is read comes from strangers: it is bounded before it is unpacked, and checked before use.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from loopwright_common.errors import InvalidError
from loopwright_scorer.inference.codec import InferenceResult
from loopwright_scorer.protocols.arrow import size_limits
from loopwright_scorer.protocols.arrow.columns import columns_of_tensors, tensors_of_table
from loopwright_scorer.protocols.base import Reply
from loopwright_scorer.protocols.request import Headers
from loopwright_scorer.tensors.tensors import InferenceRequest, TensorType

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
COLUMNAR = (STREAM, FILE, PARQUET)
_MARK = b"ARROW1"
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
Write = Callable[[InferenceResult], Reply]


def columnar_media_type(headers: Headers) -> str | None:
    """The columnar format of a body; None where it is another one."""
    media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip()
    return media if media in COLUMNAR else None


def accepted_columnar_type(headers: Headers) -> str | None:
    """The columnar format that the answer is asked for in."""
    accepted = headers.get(b"accept", b"").decode("latin-1").split(",")
    named = (each.partition(";")[0].strip() for each in accepted)
    return next((each for each in named if each in COLUMNAR), None)


class ColumnarCodec:
    """A table in; an answer in the protocol's own form, or a table with a column per output."""

    def __init__(
        self, request: InferenceRequest | InvalidError, write_as: Write, size: int = 0
    ) -> None:
        """`size`: bytes of the table as it is unpacked."""
        self.size = size
        self._request = request
        self._write_as = write_as

    def read(self) -> InferenceRequest:
        if isinstance(self._request, InvalidError):
            raise self._request
        return self._request

    def write(self, result: InferenceResult) -> Reply:
        return self._write_as(result)


async def read_columnar(
    body: bytes,
    media: str,
    inputs: Sequence[TensorType],
    write_as: Write,
    charge: Callable[[int], None],
) -> ColumnarCodec:
    """Read in a thread, whatever the body's size: what is small when packed may be large.

    What it says to become is charged before anything is unpacked, and raises as `charge` does.
    `inputs` are the model's.
    """
    size = await asyncio.to_thread(_declared_size, body, media)
    if isinstance(size, InvalidError):
        return ColumnarCodec(size, write_as)
    charge(size)
    return ColumnarCodec(await asyncio.to_thread(_read, body, media, inputs), write_as, size)


def _declared_size(body: bytes, media: str) -> int | InvalidError:
    try:
        return _SIZES[media](memoryview(body))
    except InvalidError as error:
        return error
    except _BROKEN as error:
        return _not_a(media, error)


def _not_a(media: str, error: BaseException) -> InvalidError:
    return InvalidError(f"the body is no {media}: {error!s:.300}")


def _read(body: bytes, media: str, inputs: Sequence[TensorType]) -> InferenceRequest | InvalidError:
    try:
        table = _READERS[media](memoryview(body))
        size_limits.check_size(table.num_rows, table.num_columns)
        table.validate(full=True)
        return InferenceRequest(tensors_of_table(table, inputs))
    except InvalidError as error:
        return error
    except (*_BROKEN, MemoryError, OverflowError) as error:
        return _not_a(media, error)


def table_reply(media: str) -> Write:
    """Writes answers in a columnar format."""

    def write(result: InferenceResult) -> Reply:
        table = pa.table(columns_of_tensors(result.outputs.tensors(result.request.outputs)))
        return Reply(200, _WRITERS[media](table), ((b"content-type", media.encode()),))

    return write


def _stream(body: memoryview) -> Any:
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        return reader.read_all()


def _in_file(body: memoryview) -> memoryview:
    """A file is a stream behind a mark; the index at its end could name other places."""
    if body[:6] != _MARK:
        raise InvalidError(f"the body is no {FILE}: it does not begin with {_MARK.decode()}")
    return body[8:]


def _parquet(body: memoryview) -> Any:
    from pyarrow import parquet

    source = pa.py_buffer(body)
    schema = parquet.read_schema(pa.BufferReader(source))
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    # A long text that the file has once for many rows is then held once.
    file = parquet.ParquetFile(pa.BufferReader(source), read_dictionary=texts)
    return file.read(use_threads=False)


def _written(table: Any, open_writer: Callable[[Any, Any], Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with open_writer(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _as_stream(table: Any) -> bytes:
    return _written(table, pa.ipc.new_stream)


def _as_file(table: Any) -> bytes:
    return _written(table, pa.ipc.new_file)


def _as_parquet(table: Any) -> bytes:
    from pyarrow import parquet

    return _written(table, parquet.ParquetWriter)


_SIZES: Mapping[str, Callable[[memoryview], int]] = {
    STREAM: size_limits.stream_size,
    FILE: lambda body: size_limits.stream_size(_in_file(body)),
    PARQUET: size_limits.parquet_size,
}
_READERS: Mapping[str, Callable[[memoryview], Any]] = {
    STREAM: _stream,
    FILE: lambda body: _stream(_in_file(body)),
    PARQUET: _parquet,
}
_WRITERS: Mapping[str, Callable[[Any], bytes]] = {
    STREAM: _as_stream,
    FILE: _as_file,
    PARQUET: _as_parquet,
}

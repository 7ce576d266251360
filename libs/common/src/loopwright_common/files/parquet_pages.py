"""What a Parquet file says of its columns, and their pages of themselves, which a reader believes.

A file also says in its end how large its columns become, which a reader does not check. Its end is
read here, as pyarrow ends the process over some columns that contradict themselves.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from loopwright_common.errors import InvalidError

_DEEPEST = 8
_LONGEST_VARINT = 10
_LONGEST_LIST, _LONGEST_FOOTER_LIST = 1000, 100_000
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = frozenset((4, 5, 6))
_UNPACKED, _PACKED = 2, 3
_HEADS = frozenset((5, 7, 8))
"""The fields that describe a page with data, or a dictionary; the first field in each counts."""
_COUNT = 1


_MAGIC = b"PAR1"
_END = 8
"""Bytes of a footer's length and of the mark behind it."""
_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
_TYPE, _VALUES, _COMPRESSED, _DATA_OFFSET, _DICTIONARY_OFFSET = 1, 5, 7, 9, 11
_BYTE_ARRAY = 6
_VALUE_BYTES, _TEXT_BYTES = 8, 64
"""What a value, and what a text beside its letters, takes in an array of numpy."""
_I64, _NARROW = 6, 0


class ColumnChunk(NamedTuple):
    """Where a column's pages of a row group lie, and what it says that it holds."""

    start: int
    end: int
    values: int
    is_text: bool


class PageSize(NamedTuple):
    """What one page becomes: bytes `unpacked`, and how many values."""

    unpacked: int
    values: int


def unpacked_size(body: memoryview, limit: int) -> int:
    """Bytes of memory that a file takes when it is read, as its own pages say, and as arrays.

    A text that the file has once for many rows counts once. InvalidError for what is no Parquet, or
    has more than `limit` pages.
    """
    left = limit
    total = 0
    for chunk in column_chunks(body, limit):
        pages = page_sizes(body, chunk, left)
        left -= len(pages)
        total += _chunk_size(chunk, sum(size for size, _ in pages), sum(n for _, n in pages))
    return total


def _chunk_size(chunk: ColumnChunk, unpacked: int, values: int) -> int:
    """Texts take at least 4 bytes each, and are held once where they are repeated."""
    values = max(values, chunk.values)
    texts = min(values, unpacked // 4) if chunk.is_text else 0
    return unpacked + _VALUE_BYTES * values + _TEXT_BYTES * texts


def column_chunks(body: memoryview, limit: int) -> list[ColumnChunk]:
    """All column chunks as the file's end says; InvalidError for more than `limit`."""
    start = len(body) - _END - int.from_bytes(body[-_END:-4], "little")
    if body[-4:] != _MAGIC or start < len(_MAGIC):
        raise _broken()
    footer = _Compact(body[:-_END], start, is_footer=True)
    chunks: list[ColumnChunk] = []

    def read_chunk(levels: int) -> None:
        if len(chunks) >= limit:
            raise _too_many(limit)
        chunks.append(_chunk_of(footer.struct(levels)))

    def read_row_group(levels: int) -> None:
        footer.struct(levels, {_COLUMNS: read_chunk})

    footer.struct(_DEEPEST, {_ROW_GROUPS: read_row_group})
    return chunks


def _chunk_of(numbers: dict[tuple[int, ...], int]) -> ColumnChunk:
    try:
        data = numbers[_METADATA, _DATA_OFFSET]
        start = min(data, numbers.get((_METADATA, _DICTIONARY_OFFSET)) or data)
        end = start + numbers[_METADATA, _COMPRESSED]
        kind = numbers[_METADATA, _TYPE, _NARROW]
        return ColumnChunk(start, end, numbers[_METADATA, _VALUES], kind == _BYTE_ARRAY)
    except KeyError:
        raise _broken() from None


def page_sizes(body: memoryview, chunk: ColumnChunk, limit: int) -> list[PageSize]:
    """The pages of a column chunk as their headers say; InvalidError for more than `limit`."""
    start = chunk.start
    at, end = start, chunk.end
    if start < 0 or end > len(body):
        raise InvalidError("the body is no Parquet: a column lies outside of it")
    pages: list[PageSize] = []
    while at < end:
        if len(pages) >= limit:
            raise _too_many(limit)
        header = _Compact(body, at)
        numbers = header.struct(_DEEPEST)
        packed, unpacked = numbers.get((_PACKED,), 0), numbers.get((_UNPACKED,), 0)
        if packed < 0 or unpacked < 0:
            raise _broken()
        values = sum(max(numbers.get((head, _COUNT), 0), 0) for head in _HEADS)
        pages.append(PageSize(unpacked, values))
        at = header.at + packed
    return pages


def _broken() -> InvalidError:
    return InvalidError("the body is no Parquet: a page has no header")


def _too_many(limit: int) -> InvalidError:
    return InvalidError(
        f"the file has too many pages, over {limit:,}: give fewer rows at once, or larger pages"
    )


class _Compact:
    """Reads Thrift's compact protocol: only its numbers are kept, by the path of their fields."""

    def __init__(self, buffer: memoryview, at: int, *, is_footer: bool = False) -> None:
        self._buffer = buffer
        self._longest_list = _LONGEST_FOOTER_LIST if is_footer else _LONGEST_LIST
        self._is_footer = is_footer
        self.at = at
        self._skips: dict[int, Callable[[int], None]] = {
            _TRUE: lambda _: None,
            _FALSE: lambda _: None,
            _BYTE: lambda _: self._skip(1),
            _DOUBLE: lambda _: self._skip(8),
            _BINARY: lambda _: self._skip(self._varint()),
            _LIST: self._skip_list,
            _SET: self._skip_list,
        }

    def struct(
        self, levels: int, lists: Mapping[int, Callable[[int], None]] = MappingProxyType({})
    ) -> dict[tuple[int, ...], int]:
        """The numbers in a struct and the structs in it; InvalidError where it is broken.

        Each struct of the lists named is read by the function given.
        """
        if levels == 0:
            raise _broken()
        numbers: dict[tuple[int, ...], int] = {}
        field, seen = 0, set[int]()
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if field in seen:  # of two, readers may take either
                raise _broken()
            seen.add(field)
            if field in lists:
                self._each(kind, lists[field], levels)
            elif kind == _STRUCT:
                inner = self.struct(levels - 1)
                numbers |= {(field, *path): number for path, number in inner.items()}
            elif kind in _NUMBERS:
                numbers[self._key(field, kind)] = self._zigzag()
            else:
                self._skip_value(kind, levels)
        return numbers

    def _key(self, field: int, kind: int) -> tuple[int, ...]:
        """A field of another type than a reader expects is none to it; in pages all are needed."""
        return (field,) if kind == _I64 or not self._is_footer else (field, _NARROW)

    def _skip_value(self, kind: int, levels: int) -> None:
        if kind not in self._skips:
            raise _broken()
        self._skips[kind](levels)

    def _each(self, kind: int, read: Callable[[int], None], levels: int) -> None:
        element, count = self._list_head(levels)
        if kind != _LIST or element != _STRUCT:
            raise _broken()
        for _ in range(count):
            read(levels - 1)

    def _list_head(self, levels: int) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > self._longest_list or levels == 0:
            raise _broken()
        return head & 15, count

    def _skip_list(self, levels: int) -> None:
        head, count = self._list_head(levels)
        for _ in range(count):
            if head & 15 == _STRUCT:
                self.struct(levels - 1)
            elif head & 15 in _NUMBERS:
                self._zigzag()
            else:
                self._skip_value(_BYTE if head & 15 in (_TRUE, _FALSE) else head & 15, levels - 1)

    def _byte(self) -> int:
        if self.at >= len(self._buffer):
            raise _broken()
        self.at += 1
        return self._buffer[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _LONGEST_VARINT, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _broken()

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

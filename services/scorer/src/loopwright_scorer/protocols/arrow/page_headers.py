"""What the pages of a Parquet file say of themselves, which a reader believes.

A file also says in its end how large its columns become, which a reader does not check.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from loopwright_common.errors import InvalidError

_DEEPEST = 8
_LONGEST_VARINT = 10
_LONGEST_LIST = 1000
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = frozenset((4, 5, 6))
_UNPACKED, _PACKED = 2, 3
_HEADS = frozenset((5, 7, 8))
"""The fields that describe a page with data, or a dictionary; the first field in each counts."""
_COUNT = 1


class PageSize(NamedTuple):
    """What one page becomes: bytes `unpacked`, and how many values."""

    unpacked: int
    values: int


def page_sizes(body: memoryview, chunk: Any, limit: int) -> list[PageSize]:
    """The pages of a column chunk as their headers say; InvalidError for more than `limit`.

    `chunk`: what pyarrow says of the chunk.
    """
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    at, end = start, start + chunk.total_compressed_size
    if start < 0 or end > len(body):
        raise InvalidError("the body is no Parquet: a column lies outside of it")
    pages: list[PageSize] = []
    while at < end:
        if len(pages) >= limit:
            raise InvalidError("the file has too many pages: send it in several requests")
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


class _Compact:
    """Reads Thrift's compact protocol: only its numbers are kept, by the path of their fields."""

    def __init__(self, buffer: memoryview, at: int) -> None:
        self._buffer = buffer
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

    def struct(self, levels: int) -> dict[tuple[int, ...], int]:
        """The numbers in a struct and the structs in it; InvalidError where it is broken."""
        if levels == 0:
            raise _broken()
        numbers: dict[tuple[int, ...], int] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if kind == _STRUCT:
                inner = self.struct(levels - 1)
                numbers |= {(field, *path): number for path, number in inner.items()}
            elif kind in _NUMBERS:
                numbers[field,] = self._zigzag()
            else:
                self._skip_value(kind, levels)
        return numbers

    def _skip_value(self, kind: int, levels: int) -> None:
        if kind not in self._skips:
            raise _broken()
        self._skips[kind](levels)

    def _skip_list(self, levels: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > _LONGEST_LIST or levels == 0:
            raise _broken()
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

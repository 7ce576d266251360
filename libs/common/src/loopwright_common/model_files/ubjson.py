"""Reads Universal Binary JSON as XGBoost writes it: no length is believed before it fits.

The format is that of https://ubjson.org.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

_DEEPEST = 64
_NUMBERS = {
    ord(marker): (struct.Struct(f">{code}"), np.dtype(f">{code}"))
    for marker, code in zip("iUIlLdD", "bBhiqfd", strict=True)
}
_WHOLE_NUMBERS = b"iUIlL"
_CONSTANTS = {ord("Z"): None, ord("T"): True, ord("F"): False}
_OBJECT, _END_OBJECT, _ARRAY, _END_ARRAY, _TEXT, _TYPE, _COUNT = b"{}[]S$#"


def loads(content: bytes) -> Any:
    """The document; arrays of one type of number are numpy arrays. ValueError says what is wrong.

    Refuses what XGBoost never writes, so that no two readers take a file for different things:
    a key that comes twice, bytes after the end, more than 64 levels.
    """
    reader = _Reader(content)
    try:
        document = reader.value(reader.marker(), 0)
    except (IndexError, struct.error):
        raise ValueError("it ends in the middle") from None
    if reader.at != len(content):
        raise ValueError(f"{len(content) - reader.at} bytes after the end")
    return document


class _Reader:
    """Raises IndexError or struct.error where the content ends too early."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0
        self._others: dict[int, Callable[[int], Any]] = {
            _OBJECT: self._object,
            _ARRAY: self._array,
        }

    def marker(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def value(self, marker: int, depth: int) -> Any:
        if read := self._others.get(marker):
            if depth == _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} levels at byte {self.at}")
            return read(depth + 1)
        if marker == _TEXT:
            return self._take(self._length()).decode()
        if marker in _NUMBERS:
            return self._number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        raise ValueError(f"{chr(marker)!r} at byte {self.at - 1} begins no value")

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self._content[self.at] != _END_OBJECT:
            name = self._take(self._length()).decode()
            if name in members:
                raise ValueError(f"{name!r} comes twice")
            members[name] = self.value(self.marker(), depth)
        self.at += 1
        return members

    def _array(self, depth: int) -> Any:
        marker = self.marker()
        if marker == _TYPE:
            return self._typed_array(self.marker())
        if marker == _COUNT:
            return [self.value(self.marker(), depth) for _ in range(self._length())]
        items = []
        while marker != _END_ARRAY:
            items.append(self.value(marker, depth))
            marker = self.marker()
        return items

    def _typed_array(self, marker: int) -> np.ndarray:
        if marker not in _NUMBERS or self.marker() != _COUNT:
            raise ValueError(f"no array of numbers at byte {self.at}")
        _, dtype = _NUMBERS[marker]
        return np.frombuffer(self._take(self._length() * dtype.itemsize), dtype)

    def _length(self) -> int:
        marker = self.marker()
        length = self._number(marker) if marker in _WHOLE_NUMBERS else -1
        if length < 0:
            raise ValueError(f"{chr(marker)!r} at byte {self.at} begins no length")
        return int(length)

    def _number(self, marker: int) -> Any:
        form, dtype = _NUMBERS[marker]
        (number,) = form.unpack_from(self._content, self.at)
        self.at += dtype.itemsize
        return number

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._content):
            raise ValueError(f"{size} bytes are wanted at byte {self.at} of {len(self._content)}")
        taken = self._content[self.at : end]
        self.at = end
        return taken

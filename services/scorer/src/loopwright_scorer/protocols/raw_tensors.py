"""Tensors as raw bytes, as V2's binary extension and gRPC send them: little-endian, row-major.

BYTES is, for each element, its length (uint32) and its bytes; text is UTF-8.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_scorer.tensors.tensors import NUMPY_TYPES, GivenTensor

_LITTLE = {
    name: np.dtype(kind).newbyteorder("<") for name, kind in NUMPY_TYPES.items() if name != "BYTES"
}
_LENGTH = struct.Struct("<I")


def decode_tensor(
    name: str, datatype: str, shape: tuple[int, ...], content: memoryview
) -> GivenTensor:
    """The tensor in `content`, numbers without copying; InvalidError where its size is wrong."""
    if datatype == "BYTES":
        return GivenTensor(datatype, shape, _texts(name, shape, content))
    if datatype == "BF16":
        return GivenTensor("FP32", shape, _widened(_numbers(name, "UINT16", shape, content)))
    return GivenTensor(datatype, shape, _numbers(name, datatype, shape, content))


def encode_tensor(array: np.ndarray) -> bytes:
    """The tensor's bytes; what is no number is written as text."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts: list[bytes] = []
    for value in array.ravel().tolist():
        text = value if isinstance(value, bytes) else str(value).encode()
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def _numbers(name: str, datatype: str, shape: tuple[int, ...], content: memoryview) -> np.ndarray:
    dtype = _LITTLE[datatype]
    count = math.prod(shape)
    if len(content) != count * dtype.itemsize:
        raise InvalidError(
            f"input {name!r}: {datatype} {list(shape)} is {count * dtype.itemsize} bytes, "
            f"{len(content)} were sent",
            field=name,
        )
    array = np.frombuffer(content, dtype)
    if datatype == "BOOL":
        return array.view(np.uint8).astype(np.bool_)  # any byte but 0 is true
    return array


def _widened(halves: np.ndarray) -> np.ndarray:
    """BF16 is the upper half of an FP32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _texts(name: str, shape: tuple[int, ...], content: memoryview) -> list[Any]:
    """Text of each element; InvalidError where the lengths do not add up or it is not UTF-8."""
    texts: list[Any] = []
    at, end, count = 0, len(content), math.prod(shape)
    while at + 4 <= end and len(texts) < count:
        (length,) = _LENGTH.unpack_from(content, at)
        at += 4 + length
        if at > end:
            break
        try:
            texts.append(str(content[at - length : at], "utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidError(
                f"input {name!r}: element {len(texts)} is not UTF-8: {error}", field=name
            ) from None
    if at != end or len(texts) != count:
        raise InvalidError(
            f"input {name!r}: BYTES {list(shape)} needs {count} elements, each with its length"
            f" before it; {len(texts)} were found in {end} bytes",
            field=name,
        )
    return texts

"""Frames between a scorer and the process of a package: a JSON head and raw arrays.

Runs on both sides, in the package's process without anything of Loopwright's. Arrays are raw
where they are numbers or times, and JSON where they are objects. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

SIZES = struct.Struct("<IQ")
"""Bytes of the head, bytes of the arrays; both follow in this order."""
_ALIGNED = 8
_RAW = "biufM"
"""numpy's kinds that are sent as they are."""


class FrameError(Exception):
    """The bytes received are no frame."""


def pack(head: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """One frame of a head and numpy arrays: sizes, JSON, then the arrays' bytes."""
    entries, body = [], bytearray()
    for name, array in arrays.items():
        one: dict[str, Any] = {"name": name, "shape": array.shape}
        if array.dtype.kind in _RAW:
            one["dtype"] = array.dtype.str
            body += array.tobytes()
            body += bytes(-len(body) % _ALIGNED)
        else:
            one["values"] = array.ravel().tolist()
        entries.append(one)
    text = json.dumps({**head, "arrays": entries}).encode()
    return SIZES.pack(len(text), len(body)) + text + body


def receive(
    read: Callable[[int], bytearray], largest: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Head and arrays of the next frame; `read(n)` gives the next n bytes.

    Raises FrameError when it is larger than `largest` bytes, or no frame.
    """
    head_size, body_size = SIZES.unpack(read(SIZES.size))
    if head_size + body_size > largest:
        raise FrameError(f"{head_size + body_size} bytes, {largest} are taken")
    text, body = read(head_size), read(body_size)
    try:
        head = json.loads(text)
        return head, _arrays(head.pop("arrays"), body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FrameError(f"{type(error).__name__}: {error}") from None


def _arrays(entries: list[dict[str, Any]], body: bytearray) -> dict[str, Any]:
    if not entries:
        return {}
    import numpy as np

    arrays, offset = {}, 0
    for one in entries:
        shape = tuple(int(size) for size in one["shape"])
        count = math.prod(shape)
        if min(shape, default=0) < 0:
            raise FrameError(f"an array of shape {shape}")
        if "values" in one:
            array = np.empty(len(one["values"]), object)
            array[:] = one["values"]
        else:
            dtype = np.dtype(one["dtype"])
            if dtype.kind not in _RAW:
                raise FrameError(f"an array of {dtype}")
            array = np.frombuffer(body, dtype, count, offset)
            offset += array.nbytes + -array.nbytes % _ALIGNED
        arrays[str(one["name"])] = array.reshape(shape)
    return arrays

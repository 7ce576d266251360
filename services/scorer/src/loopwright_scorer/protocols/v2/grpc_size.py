"""How much memory a gRPC message takes once it is parsed, known before it is.

https://protobuf.dev/programming-guides/encoding/
"""

from loopwright_common.errors import InvalidError, TooLargeError
from loopwright_scorer.inference.executor import LOOP_BYTES

_RAW = 7
"""The field `raw_input_contents`, which is kept as it came."""
_FIELDS_LIMIT = 20_000
_PARSED = 8
"""How many times as large values get that are parsed one by one."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def parsed_message_size(body: bytes, largest_parsed: int) -> int:
    """Bytes of memory for a ModelInfer request.

    Raises TooLargeError where more than `largest_parsed` bytes of it are no raw tensors, and
    InvalidError for what is no message or has thousands of parts.
    """
    if len(body) <= LOOP_BYTES:
        return _PARSED * len(body)
    raw = _raw_size(body)
    if len(body) - raw > largest_parsed:
        raise TooLargeError(
            f"{len(body) - raw:,} bytes of the message are no raw tensors, at most"
            f" {largest_parsed:,} are taken; send raw_input_contents, or raise"
            " LOOPWRIGHT_SCORER_LARGEST_JSON"
        )
    return raw + _PARSED * (len(body) - raw)


def _raw_size(body: bytes) -> int:
    at = total = 0
    for _ in range(_FIELDS_LIMIT):
        if at >= len(body):
            return total
        tag, at = _varint(body, at)
        size, at = _field_size(body, tag & 7, at)
        total += size if tag >> 3 == _RAW else 0
        at += size
    raise InvalidError("the message has too many parts: give raw_input_contents, or fewer inputs")


def _field_size(body: bytes, kind: int, at: int) -> tuple[int, int]:
    """Bytes of a field's content, and where it begins."""
    if kind == _LENGTH:
        return _varint(body, at)
    if kind == _VARINT:
        return _varint(body, at)[1] - at, at
    if kind in (_FIXED32, _FIXED64):
        return 4 if kind == _FIXED32 else 8, at
    raise InvalidError(f"the message is no ModelInferRequest: it has a field of kind {kind}")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for number, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        value |= (byte & 127) << (7 * number)
        if byte < 128:
            return value, at + number + 1
    raise InvalidError("the message is no ModelInferRequest: it ends too early")

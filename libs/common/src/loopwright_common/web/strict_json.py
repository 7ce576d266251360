"""JSON as RFC 8259 has it, and nothing that two readers could take for different things."""

import json
from collections import Counter
from typing import Any

from loopwright_common.errors import InvalidError

_DEEPEST = 64
"""Lists and objects in each other."""


def loads(body: bytes) -> Any:
    """The value in `body`.

    Raises InvalidError for what is no JSON in UTF-8, for NaN and Infinity, for a key that an
    object has twice, and where lists and objects are nested deeper than anything here needs.
    """
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {error}", field="body") from None
    if _is_deeper(value, _DEEPEST):
        raise InvalidError(f"the body is nested deeper than {_DEEPEST} levels", field="body")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice, _ = counts.most_common(1)[0]
        raise ValueError(f"the key {twice[:60]!r} is there twice in one object")
    return members


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is no number in JSON")


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)

"""Pages of long lists: opaque tokens, bounded sizes."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from loopwright_common.errors import InvalidError
from loopwright_registry.mlflow.domain import LARGEST_INTEGER

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: `size` items from `offset`."""

    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list and the token of the next, if there is one."""

    items: Sequence[T]
    next_token: str | None


def page_of(size: int, token: str | None, most: int) -> Page:
    """InvalidError for a size out of 1..most or a token that we did not give."""
    if not 1 <= size <= most:
        raise InvalidError(
            f"Invalid value {size} for parameter 'max_results' supplied: give 1 to {most}."
        )
    return Page(size, _offset(token) if token else 0)


def sliced(items: Sequence[T], page: Page) -> Slice[T]:
    """`items` holds one more than the page when there is a next one."""
    more = len(items) > page.size
    token = json.dumps({"offset": page.offset + page.size}).encode() if more else None
    encoded = base64.urlsafe_b64encode(token).decode() if token else None
    return Slice(items[: page.size], encoded)


def _offset(token: str) -> int:
    try:
        offset = json.loads(base64.urlsafe_b64decode(token))["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        offset = -1
    if not isinstance(offset, int) or not 0 <= offset <= LARGEST_INTEGER:
        raise InvalidError("Invalid page token: use next_page_token of the page before")
    return offset

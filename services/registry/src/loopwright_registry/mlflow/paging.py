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
class PageRequest:
    """Which part of a list: `size` items from `offset`."""

    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[T]):
    """One page of a list and the token of the next, if there is one."""

    items: Sequence[T]
    next_token: str | None


def page_request(size: int, token: str | None, limit: int) -> PageRequest:
    """Read the page that is asked for.

    Raises InvalidError for a size outside 1..`limit` and for a token that we did not give.
    """
    if not 1 <= size <= limit:
        raise InvalidError(
            f"Invalid value {size} for parameter 'max_results' supplied: give 1 to {limit}."
        )
    return PageRequest(size, _offset(token) if token else 0)


def result_page(items: Sequence[T], page: PageRequest) -> ResultPage[T]:
    """Cut the rows to the page; `items` holds one more than the page when there is a next one."""
    more = len(items) > page.size
    token = json.dumps({"offset": page.offset + page.size}).encode() if more else None
    encoded = base64.urlsafe_b64encode(token).decode() if token else None
    return ResultPage(items[: page.size], encoded)


def _offset(token: str) -> int:
    try:
        offset = json.loads(base64.urlsafe_b64decode(token))["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        offset = -1
    if not isinstance(offset, int) or not 0 <= offset <= LARGEST_INTEGER:
        raise InvalidError("Invalid page token: use next_page_token of the page before")
    return offset

"""What requests may take of a service: the memory of all that are under way, and of each body."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from loopwright_common.errors import OverloadedError, TooLargeError

F = TypeVar("F", bound=Callable[..., Any])
LARGEST_BODY = 1 << 20
_DECLARED = "__body_limit__"


class RequestMemory:
    """Bytes that all requests under way may hold together: bodies, and what those decode to."""

    def __init__(self, size: int = 128 << 20, service: str = "service") -> None:
        self._size = size
        self._setting = f"LOOPWRIGHT_{service.upper()}_REQUEST_BUFFER"
        self.available = size
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """TooLargeError for what never has room, OverloadedError for what has none now."""
        if size > self._size:
            raise TooLargeError(
                f"this takes {size:,} bytes of memory, and all requests together have"
                f" {self._size:,}; send it in several requests, or raise {self._setting}"
            )
        with self._lock:  # what is decoded in a thread is charged there
            has_room = size <= self.available
            self.available -= size if has_room else 0
        if not has_room:
            raise OverloadedError(
                "requests under way fill the memory kept for them; come again, or raise"
                f" {self._setting}"
            )

    def release(self, size: int) -> None:
        with self._lock:
            self.available += size


class MemoryCharge:
    """What one request holds of the memory of all; `release` gives it back."""

    def __init__(self, memory: RequestMemory) -> None:
        self._memory = memory
        self.held = 0

    def add(self, size: int) -> None:
        """Hold so many bytes more; raises as `RequestMemory.reserve` does."""
        self._memory.reserve(size)
        self.held += size

    def hold(self, size: int) -> None:
        """Hold at least so many bytes in all."""
        if size > self.held:
            self.add(size - self.held)

    def keep(self, size: int) -> None:
        """Give back all but so many bytes."""
        self._memory.release(self.held - size)
        self.held = size

    def release(self) -> None:
        self.keep(0)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much a service takes of one request, and of all; times in seconds."""

    largest_body: int = LARGEST_BODY
    memory: RequestMemory = field(default_factory=RequestMemory)
    body_seconds: float = 30.0
    """How long a client may take to send a body."""


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """What a route takes: a body of JSON with so many bytes, or one that it reads as it comes."""

    size: int
    streamed: bool = False
    remedy: str = "send less in one request"

    def check(self, size: int) -> None:
        """TooLargeError where a body has more."""
        if size > self.size:
            raise TooLargeError(
                f"the body has {size:,} bytes or more, at most {self.size:,} are taken;"
                f" {self.remedy}"
            )


def takes_body(limit: BodyLimit | None) -> Callable[[F], F]:
    """Declare, on an endpoint's function, what its route takes; the service's default for None."""

    def declare(endpoint: F) -> F:
        setattr(endpoint, _DECLARED, limit)
        return endpoint

    return declare


def declared_limit(endpoint: object) -> BodyLimit | None:
    """What `takes_body` said of an endpoint."""
    limit: BodyLimit | None = getattr(endpoint, _DECLARED, None)
    return limit

"""Open connections to a service: so many and no more, and none whose client never goes on."""

import asyncio
from collections.abc import Callable
from typing import Protocol

_REFUSABLE = 64
"""Connections past the limit that are kept until they have been answered with a refusal."""
_CHECKS = 8
"""How often a connection is looked at in the time that a client has."""


class LimitedConnection(Protocol):
    """A connection that can be told to look at the clock."""

    def enforce_timeout(self, now: float, timeout: float) -> None:
        """End it where its client took more than `timeout` seconds; `now` is the loop's clock."""
        ...


class ConnectionLimits:
    """The open connections of one listener, at most `limit`."""

    def __init__(self, limit: int = 800, seconds: float = 30.0, service: str = "service") -> None:
        """`seconds`: how long a client may take for what it has begun."""
        self.setting = f"LOOPWRIGHT_{service.upper()}_MAX_CONNECTIONS"
        self._limit = limit
        self._seconds = seconds
        self._open: set[LimitedConnection] = set()
        self._next_check: asyncio.TimerHandle | None = None

    def register(self, connection: LimitedConnection, abort: Callable[[], None]) -> bool:
        """False where it is one too many; `abort` is called where there are far too many."""
        self._open.add(connection)
        if self._next_check is None:
            self._check(asyncio.get_running_loop())
        if len(self._open) > self._limit + _REFUSABLE:
            abort()
        return len(self._open) <= self._limit

    def unregister(self, connection: LimitedConnection) -> None:
        self._open.discard(connection)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Repeats itself while there are connections."""
        for each in list(self._open):
            each.enforce_timeout(loop.time(), self._seconds)
        self._next_check = None
        if self._open:
            self._next_check = loop.call_later(self._seconds / _CHECKS, self._check, loop)

"""Open connections to a scorer: so many and no more, and none whose client never goes on."""

import asyncio
from collections.abc import Callable
from typing import Protocol

_FAREWELLS = 64
"""Connections past the limit that are kept until they have been told so."""
_SWEEPS = 8
"""How often in the time that a client has it is looked at."""


class LimitedConnection(Protocol):
    def look(self, now: float, patience: float) -> None:
        """End it where its client has taken more seconds; `now` on the event loop's clock."""
        ...


class ConnectionLimits:
    """Those of one listener."""

    def __init__(self, most: int, seconds: float) -> None:
        """`seconds`: how long a client may take for what it has begun."""
        self._most = most
        self._seconds = seconds
        self._open: set[LimitedConnection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def add(self, connection: LimitedConnection, abort: Callable[[], None]) -> bool:
        """False where it is one too many; `abort` is called where there are far too many."""
        self._open.add(connection)
        if self._sweeping is None:
            self._sweep(asyncio.get_running_loop())
        if len(self._open) > self._most + _FAREWELLS:
            abort()
        return len(self._open) <= self._most

    def remove(self, connection: LimitedConnection) -> None:
        self._open.discard(connection)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """While there are connections."""
        for each in list(self._open):
            each.look(loop.time(), self._seconds)
        self._sweeping = None
        if self._open:
            self._sweeping = loop.call_later(self._seconds / _SWEEPS, self._sweep, loop)

"""How fast the call centre calls: no faster than this machine closes the loop."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from loopwright.client import complaint
from loopwright_common.errors import UnavailableError

_PERIOD = 0.2
_MOST_BEHIND = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """Rows per request and per second."""

    rows: int
    per_second: float


IDLE = Pace(10, 600)


def busy_pace(first_version_seconds: float) -> Pace:
    """While a version is made: slower where the first one took longer than 15 seconds.

    So every version meets about as many rows, whatever the machine.
    """
    return Pace(5, min(max(3_000 / first_version_seconds, 25), 200))


@dataclass(slots=True)
class MonitorLag:
    """How many records the monitor has still to read, so that nobody runs ahead of it."""

    http: httpx.AsyncClient
    monitor: str
    silent_after: float = 3.0
    """Seconds without an answer after which it counts as behind."""
    records: int = 0
    _heard: float = field(default_factory=time.monotonic)

    async def follow(self) -> None:
        """Ask until cancelled; UnavailableError when the monitor answers with an error."""
        while True:
            answer = await self.http.get(f"{self.monitor}/v1/consumers")
            if answer.is_error:
                raise UnavailableError(complaint("monitor", answer))
            self.records = max(consumer["lag"] for consumer in answer.json()["items"])
            self._heard = time.monotonic()
            await asyncio.sleep(_PERIOD)

    @property
    def is_far_behind(self) -> bool:
        silent = time.monotonic() - self._heard
        return self.records > _MOST_BEHIND or silent > self.silent_after


@dataclass(frozen=True, slots=True)
class Pacing:
    """The pace of the moment."""

    lag: MonitorLag
    is_busy: Callable[[], bool]
    busy: Pace

    def __call__(self) -> Pace | None:
        """None while the monitor is to catch up."""
        if self.lag.is_far_behind:
            return None
        return self.busy if self.is_busy() else IDLE

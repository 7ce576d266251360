"""Publishes records to the bus in order; while it does not take them they wait on disk."""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Gauge

from loopwright_common.bus import EventBus
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.errors import UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_scorer.recording.spill import SpillDirectory

_TIMEOUT_SECONDS = 5.0
_STOPPING_SECONDS = 0.5
_PAUSE_SECONDS = 0.5
log = structlog.get_logger()


class BatchPublisher:
    """Publishes sealed batches; nothing overtakes what waits on disk.

    A record may arrive twice, with the same id.
    """

    def __init__(self, bus: EventBus, spill: SpillDirectory, waiting: Gauge) -> None:
        self._bus = bus
        self._spill = spill
        self._waiting = waiting
        self._lock = asyncio.Lock()
        self._spilled = asyncio.Event()
        self._spilled.set()  # an earlier process may have left something
        self._is_bus_down = False
        self._timeout = _TIMEOUT_SECONDS
        self._publishing: asyncio.Timeout | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the bus took the last record and none waits on disk."""
        return not self._is_bus_down and not self._spill

    async def publish(self, records: Sequence[OutgoingRecord]) -> bool:
        """Whether the bus has them now; if not, spill them."""
        return not self._spill and await self._publish(records)

    async def spill(self, record: OutgoingRecord) -> bool:
        """Keep it on disk until the bus takes it; False where there is no room."""
        async with self._lock:
            kept = await asyncio.to_thread(self._spill.append, record)
            self._waiting.set(len(self._spill))
        self._spilled.set()
        return kept

    async def resend(self) -> None:
        """Send what waits on disk whenever the bus takes it, until cancelled."""
        while True:
            await self._spilled.wait()
            self._spilled.clear()
            while record := await self._oldest():
                if await self._publish([record]):
                    failpoint("scorer.resent")
                    await self._drop_oldest()
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)

    def shorten_timeout(self) -> None:
        """The process ends: from now on what does not leave at once is spilled."""
        self._timeout = _STOPPING_SECONDS
        if self._publishing is not None:
            self._publishing.reschedule(asyncio.get_running_loop().time() + _STOPPING_SECONDS)

    async def _oldest(self) -> OutgoingRecord | None:
        async with self._lock:
            record = await asyncio.to_thread(self._spill.oldest)
            self._waiting.set(len(self._spill))
        return record

    async def _drop_oldest(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._spill.drop_oldest)
            self._waiting.set(len(self._spill))

    async def _publish(self, records: Sequence[OutgoingRecord]) -> bool:
        try:
            async with asyncio.timeout(self._timeout) as self._publishing:
                await self._bus.publish(records)
        except (UnavailableError, TimeoutError) as error:
            if not self._is_bus_down:
                log.warning("recorder.bus-unavailable", error=str(error) or "no answer in time")
            self._is_bus_down = True
            return False
        finally:
            self._publishing = None
        self._is_bus_down = False
        return True

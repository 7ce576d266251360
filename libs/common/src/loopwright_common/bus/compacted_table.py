"""Read a compacted topic as a table in memory: no group, everything from the start."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar, cast

import structlog

from loopwright_common.bus.interface import EventBus, from_start
from loopwright_common.cloudevents import Record, codec
from loopwright_common.errors import UnavailableError, UndecodableError
from loopwright_common.events import Event, EventData

log = structlog.get_logger()
D = TypeVar("D", bound=EventData)
T = TypeVar("T")
_PAUSE_SECONDS = 1.0


class TableReader(Generic[D]):
    """The latest event per key; `ready` once all that was there at the start has been read."""

    def __init__(
        self,
        bus: EventBus,
        payload: type[D],
        *,
        replaces: Callable[[D, D], bool] = lambda _old, _new: True,
    ) -> None:
        """`replaces(old, new)` says whether a row gives way, as by a higher revision."""
        self.rows: dict[str, Event[D]] = {}
        self.ready = asyncio.Event()
        self.changed = asyncio.Event()
        self._bus = bus
        self._payload = payload
        self._replaces = replaces

    async def run(self) -> None:
        """Until cancelled, also while the bus is away; what does not decode is skipped, logged."""
        topics = [self._payload.topic]
        ends = await self._until_available(lambda: self._bus.ends(topics))
        subscription = await self._until_available(
            lambda: self._bus.subscribe(None, topics, from_start)
        )
        try:
            while True:
                if not self.ready.is_set() and await subscription.has_reached(ends):
                    self.ready.set()
                    self.changed.set()  # whoever follows an empty table learns so at once
                wait = 1.0 if self.ready.is_set() else 0.05
                records = await self._until_available(partial(subscription.fetch, 200, wait))
                for record in records:
                    self._take(record)
                if records:
                    self.changed.set()
        finally:
            await subscription.close()

    async def _until_available(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except UnavailableError as error:
                log.warning("table-reader.paused", topic=self._payload.topic, error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    def _take(self, record: Record) -> None:
        if not record.value:
            self.rows.pop(record.key, None)
            return
        try:
            event = cast(Event[D], codec.decode(record))
        except UndecodableError as error:
            log.error("table-reader.skipped", topic=record.topic, error=str(error))
            return
        old = self.rows.get(record.key)
        if old is None or self._replaces(old.data, event.data):
            self.rows[record.key] = event

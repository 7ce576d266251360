"""Read a compacted topic as a table in memory: no group, everything from the start."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import structlog

from loopwright_common import codec
from loopwright_common.bus import EventBus, TopicPartition, from_start
from loopwright_common.codec import Record
from loopwright_common.errors import UnavailableError, UndecodableError
from loopwright_common.events import Event, EventData

log = structlog.get_logger()
D = TypeVar("D", bound=EventData)


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
        """Until cancelled; records that do not decode are skipped and logged."""
        topics = [self._payload.topic]
        ends = dict(await self._until_available(topics))
        subscription = await self._bus.subscribe(None, topics, from_start)
        try:
            while True:
                if not ends and not self.ready.is_set():
                    self.ready.set()
                    self.changed.set()  # whoever follows an empty table learns so at once
                try:
                    records = await subscription.fetch(200, 1.0)
                except UnavailableError as error:
                    log.warning("table-reader.paused", topic=topics[0], error=str(error))
                    await asyncio.sleep(1)
                    continue
                for record in records:
                    self._take(record)
                    place = TopicPartition(record.topic, record.partition)
                    if ends.get(place, 0) <= record.offset + 1:
                        ends.pop(place, None)
                if records:
                    self.changed.set()
        finally:
            await subscription.close()

    async def _until_available(self, topics: list[str]) -> dict[TopicPartition, int]:
        while True:
            try:
                return dict(await self._bus.ends(topics))
            except UnavailableError as error:
                log.warning("table-reader.paused", topic=topics[0], error=str(error))
                await asyncio.sleep(1)

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

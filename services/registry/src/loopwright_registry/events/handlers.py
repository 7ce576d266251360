"""The archive keeps every event of every archived topic."""

from loopwright_common.consumer import Handlers
from loopwright_common.events import JSON_EVENTS, TOPICS, Event, EventData
from loopwright_common.unit_of_work import UnitOfWork
from loopwright_registry.events.repository import Archive


async def on_any(event: Event[EventData], uow: UnitOfWork) -> None:
    await Archive(uow.connection).keep(event)


HANDLERS: Handlers = {payload: on_any for payload in JSON_EVENTS if TOPICS[payload.topic].archived}

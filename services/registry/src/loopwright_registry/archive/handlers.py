"""The archive keeps every event of every archived topic."""

from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import BoundBy
from loopwright_common.events import EVENTS, TOPICS, Event, EventData
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.repository import Archive

ARCHIVED = tuple(payload for payload in EVENTS.values() if TOPICS[payload.topic].archived)


async def on_archived_event(event: Event[EventData], uow: UnitOfWork, feed: EventFeed) -> None:
    """Append the event; followers of the feed hear of it once it is committed."""
    await uow.lock("archive")
    await Archive(uow.connection).append(event)
    uow.after_commit.append(feed.notify)


HANDLERS: BoundBy[EventFeed] = dict.fromkeys(ARCHIVED, on_archived_event)


async def reset(_uow: UnitOfWork) -> None:
    """A rebuild takes nothing away: the archive outlives its topics.

    What they still hold and the archive has lost is added; what it has keeps its position.
    """

"""The archive keeps every event of every archived topic."""

from functools import partial

from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import Handlers
from loopwright_common.events import EVENTS, TOPICS, Event, EventData
from loopwright_registry.archive.feed import Feed
from loopwright_registry.archive.repository import Archive

ARCHIVED = tuple(payload for payload in EVENTS.values() if TOPICS[payload.topic].archived)


async def on_any(event: Event[EventData], uow: UnitOfWork, feed: Feed) -> None:
    await uow.lock("archive")
    await Archive(uow.connection).keep(event)
    uow.after_commit.append(feed.tell)


def handlers(feed: Feed) -> Handlers:
    """Followers of the feed hear of every event once it is kept."""
    return {payload: partial(on_any, feed=feed) for payload in ARCHIVED}


async def reset(_uow: UnitOfWork) -> None:
    """A rebuild takes nothing away: the archive outlives its topics.

    What they still hold and the archive has lost is added; what it has keeps its position.
    """

"""What one follower of the feed is sent."""

from loopwright_common.database.database import Database
from loopwright_common.events import CodeChanged, Event, EventData
from loopwright_registry.archive.domain import EventFilter, FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.handlers import on_archived_event
from tests.registry.builders import happened


def commit(number: int) -> Event[EventData]:
    data = CodeChanged(repository="bank", ref="refs/heads/main", commit=f"c{number}")
    return happened(data, f"e{number}", number, "repositories/bank")


async def test_a_slow_reader_is_sent_one_page_after_the_other(database: Database) -> None:
    async with database.unit_of_work() as uow:
        for number in range(120):
            await on_archived_event(commit(number), uow, EventFeed(database, FeedLimits()))
    following = EventFeed(database, FeedLimits()).follow(0, EventFilter())

    sizes = [(await anext(following)).count(b"data: ") for _ in range(4)]
    await following.aclose()

    assert sizes == [0, 50, 50, 20]

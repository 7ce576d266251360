"""Positions of the archive become visible in their order."""

import asyncio

import httpx

from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.events import CodeChanged, Event, EventData
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.handlers import on_archived_event
from tests.registry.builders import happened

Client = httpx.AsyncClient


def commit(number: int) -> Event[EventData]:
    data = CodeChanged(repository="bank", ref="refs/heads/main", commit=f"c{number}")
    return happened(data, f"e{number}", number, "repositories/bank")


async def keep(database: Database, event: Event[EventData]) -> None:
    async with database.unit_of_work() as uow:
        await on_archived_event(event, uow, EventFeed(database, FeedLimits()))


async def test_no_reader_passes_by_an_event_whose_transaction_ends_later(
    client: Client, database: Database
) -> None:
    seen, after = list[str](), 0

    async def read() -> None:
        nonlocal after
        for item in (await client.get("/v1/events", params={"after": after})).json()["items"]:
            seen.append(item["id"])
            after = item["position"]

    async with database.unit_of_work() as slow:
        await on_archived_event(commit(0), slow, EventFeed(database, FeedLimits()))
        fast = asyncio.create_task(keep(database, commit(1)))
        reading = asyncio.create_task(asyncio.sleep(0.3))
        await asyncio.wait([reading])
        if database_is_shared(slow):
            await read()
    await fast
    await read()

    assert seen == ["e0", "e1"]


def database_is_shared(uow: UnitOfWork) -> bool:
    """SQLite has one connection, so nobody reads meanwhile."""
    return uow.connection.dialect.name == "postgresql"

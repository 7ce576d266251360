"""The watch sees what it is there for, so that its silence elsewhere means something."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.storage.filesystem import FilesystemStore
from tests.common.delivery.test_consumer import code_changed
from tests.common.probe import service
from tests.holding import watching

# PostgreSQL has a connection for each, so there is nothing to watch.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def faults_of(database: Database, within: Callable[[], Awaitable[object]]) -> list[str]:
    async def work() -> None:
        async with database.unit_of_work() as uow:
            await uow.connection.execute(sa.select(1))
            await within()

    with watching() as watch:
        await asyncio.create_task(work())
    assert watch.transactions > 0
    return watch.faults


async def test_a_wait_a_thread_or_another_store_within_a_transaction_is_seen(
    database: Database, store: FilesystemStore, tmp_path: Path
) -> None:
    bus = await SqliteBus.open(tmp_path)
    other = await service.open_database(f"sqlite:///{tmp_path}")

    async def a_while() -> None:
        await asyncio.sleep(0.001)

    for within, place in (
        (a_while, "in sleep"),
        (lambda: asyncio.to_thread(int), "in to_thread"),
        (lambda: store.put(b"1"), "in to_thread"),
        (lambda: bus.publish([code_changed("a", 1)]), "in work"),
        (lambda: uses(other), "a second transaction"),
    ):
        found = await faults_of(database, within)
        assert any(place in fault for fault in found), found
    await other.close()
    await bus.close()


async def uses(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(sa.select(1))


async def test_the_database_alone_may_be_awaited(database: Database) -> None:
    async def nothing() -> None: ...

    assert await faults_of(database, nothing) == []

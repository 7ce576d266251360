"""A task cancelled in the middle of a database call: all or nothing, and the next one works."""

import asyncio
import contextlib

import psutil
import sqlalchemy as sa

from loopwright_common.database.database import Database
from tests.common.bus_harness import BusAddress, until
from tests.common.probe import service
from tests.common.probe.service import EFFECTS, effects


async def write_a_pair(database: Database, number: int) -> None:
    async with database.unit_of_work() as uow:
        for key in ("first", "second"):
            row = {"key": key, "number": number}
            await uow.connection.execute(sa.insert(EFFECTS).values(row))


async def test_a_cancelled_unit_of_work_leaves_all_or_nothing(database: Database) -> None:
    for steps in range(25):
        task = asyncio.create_task(write_a_pair(database, steps))
        for _ in range(steps * 3):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(120):
        await write_a_pair(database, 1000)

    written = await effects(database)
    firsts = [effect.number for effect in written if effect.key == "first"]
    assert firsts == [effect.number for effect in written if effect.key == "second"]
    assert firsts[-1] == 1000


async def test_waiting_units_of_work_survive_one_that_is_cancelled(database: Database) -> None:
    tasks = [asyncio.create_task(write_a_pair(database, number)) for number in range(20)]
    await asyncio.sleep(0.01)
    for task in tasks[::2]:
        task.cancel()
    async with asyncio.timeout(120):
        await asyncio.gather(*tasks, return_exceptions=True)

    numbers = {effect.number for effect in await effects(database)}
    assert numbers >= set(range(1, 20, 2))


async def test_a_query_that_is_cancelled_leaves_nothing_locked(database: Database) -> None:
    async with database.unit_of_work() as uow:
        many = [{"key": f"k{number}", "number": number} for number in range(3000)]
        await uow.connection.execute(sa.insert(EFFECTS), many)

    # What a task has failed of holds on to what it was doing.
    tasks = []
    for steps in range(40):
        tasks.append(asyncio.create_task(effects(database)))
        await asyncio.sleep(steps * 0.0005)
        tasks[-1].cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(tasks[-1], return_exceptions=True)
            await write_a_pair(database, 5000 + steps)


async def test_closing_waits_for_connections_on_their_way_back(database_url: str) -> None:
    for steps in range(12):
        database = await service.open_database(database_url)
        task = asyncio.create_task(write_a_pair(database, steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await database.close()


async def test_a_question_to_kafka_that_is_cancelled_leaves_no_connection_open(
    kafka_address: BusAddress,
) -> None:
    bus = await kafka_address.open()
    await bus.ends(["code-changed"])
    before = open_sockets()
    for steps in range(20):
        task = asyncio.create_task(bus.ends(["code-changed"]))
        await asyncio.sleep(steps * 0.0005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    await until(lambda: open_sockets() <= before)
    await bus.close()


def open_sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))

"""Leases: one holder at a time, none for ever, and no word from a former one."""

import asyncio
from datetime import timedelta

import pytest

from loopwright_common.database.database import Database
from loopwright_common.database.leases import (
    Lease,
    LeaseKeeper,
    LeaseLostError,
    acquire,
    confirm,
    is_abandoned,
    keep_renewed,
    lease_holders,
    release,
    renew,
)
from tests.common.probe import service
from tests.common.probe.service import effects

SHORT = timedelta(seconds=1)
"""Long enough that its holder comes to renew it on a busy machine."""
ENDED = timedelta()


async def taken(database: Database, length: timedelta = timedelta(minutes=1)) -> Lease | None:
    async with database.unit_of_work() as uow:
        return await acquire(uow, "job", length)


async def lease_of(database: Database, length: timedelta = timedelta(minutes=1)) -> Lease:
    lease = await taken(database, length)
    assert lease is not None
    return lease


async def write(database: Database, lease: Lease) -> None:
    async with database.unit_of_work() as uow:
        await uow.connection.execute(service.EFFECTS.insert().values(key="job", number=1))
        await confirm(uow, lease)


async def test_a_second_taker_is_refused_until_the_first_lets_go(database: Database) -> None:
    lease = await lease_of(database)
    assert await taken(database) is None
    async with database.unit_of_work() as uow:
        await release(uow, lease)

    assert (await lease_of(database)).token != lease.token


async def test_of_many_takers_at_once_one_has_it(database: Database) -> None:
    leases = await asyncio.gather(*(taken(database) for _ in range(10)))
    assert len([lease for lease in leases if lease]) == 1


async def test_a_lease_that_has_ended_is_taken_and_its_holder_can_do_nothing_more(
    database: Database,
) -> None:
    late = await lease_of(database, ENDED)
    current = await lease_of(database)

    with pytest.raises(LeaseLostError, match="job is in other hands"):
        await write(database, late)
    with pytest.raises(LeaseLostError):
        async with database.unit_of_work() as uow:
            await renew(uow, late)
    async with database.unit_of_work() as uow:
        await release(uow, late)
    await write(database, current)

    assert len(await effects(database)) == 1


async def test_a_lease_is_abandoned_when_it_ended_without_being_released(
    database: Database,
) -> None:
    async with database.unit_of_work() as uow:
        assert not await is_abandoned(uow, "job"), "nobody had it"
    lease = await lease_of(database, ENDED)
    async with database.unit_of_work() as uow:
        assert await is_abandoned(uow, "job")
        await renew(uow, lease)
        assert not await is_abandoned(uow, "job")
        await release(uow, lease)
        assert not await is_abandoned(uow, "job")


async def test_one_that_has_ended_is_still_its_holders_until_another_takes_it(
    database: Database,
) -> None:
    lease = await lease_of(database, ENDED)
    await write(database, lease)
    async with database.unit_of_work() as uow:
        await renew(uow, lease)

    assert await taken(database) is None


async def test_nobody_takes_a_lease_between_its_confirmation_and_the_commit(
    database: Database,
) -> None:
    lease = await lease_of(database, ENDED)
    async with database.unit_of_work() as uow:
        await confirm(uow, lease)
        taker = asyncio.create_task(taken(database))
        await asyncio.wait([taker], timeout=0.2)
        assert not taker.done()
    assert await taker


async def test_a_kept_lease_outlives_its_length_and_is_free_at_the_end(database: Database) -> None:
    async with keep_renewed(database, await lease_of(database, SHORT), SHORT):
        await asyncio.sleep(1.2 * SHORT.total_seconds())
        assert await taken(database) is None

    assert await taken(database)


async def test_who_loses_a_kept_lease_is_interrupted(database: Database) -> None:
    async def work() -> None:
        lease = await lease_of(database, SHORT)
        async with asyncio.timeout(120), keep_renewed(database, lease, SHORT):
            async with database.unit_of_work() as uow:
                await release(uow, lease)
                assert await acquire(uow, "job")
            await asyncio.Event().wait()

    with pytest.raises(LeaseLostError):
        await work()

    async with database.read() as connection:
        assert "job" in await lease_holders(connection, ["job"])


async def test_of_many_leases_kept_together_one_that_is_lost_interrupts_its_work_alone(
    database: Database,
) -> None:
    keeper, names = LeaseKeeper(database, SHORT), [f"job-{number}" for number in range(5)]
    held = asyncio.Event()

    async def work(name: str) -> None:
        async with database.unit_of_work() as uow:
            lease = await acquire(uow, name, SHORT)
        assert lease is not None
        async with keeper.keep(lease):
            await held.wait()

    tasks = {name: asyncio.create_task(work(name)) for name in names}
    async with asyncio.timeout(120):
        while len(keeper.kept) < len(names):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    lost = next(lease for lease in keeper.kept if lease.name == "job-2")
    async with database.unit_of_work() as uow:
        await release(uow, lost)
        assert await acquire(uow, "job-2")
    with pytest.raises(LeaseLostError):
        await tasks.pop("job-2")
    await asyncio.sleep(1.2 * SHORT.total_seconds())
    async with database.unit_of_work() as uow:
        free = [name for name in tasks if await acquire(uow, name) is not None]
    held.set()
    await asyncio.gather(*tasks.values())

    assert free == [], "they were renewed while the other was not"
    assert keeper.kept == frozenset()
    async with database.read() as connection:
        assert set(await lease_holders(connection, names)) == {"job-2"}


async def test_what_fails_while_a_lease_is_kept_is_told_as_it_is(database: Database) -> None:
    with pytest.raises(ValueError, match="no such luck"):
        async with keep_renewed(database, await lease_of(database)):
            raise ValueError("no such luck")

    assert await taken(database)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_restart_on_sqlite_frees_what_the_former_process_held(database_url: str) -> None:
    former = await service.open_database(database_url)
    await lease_of(former)
    await former.close()

    restarted = await service.open_database(database_url)
    async with restarted.unit_of_work() as uow:
        assert await is_abandoned(uow, "job")
    assert await taken(restarted)
    await restarted.close()

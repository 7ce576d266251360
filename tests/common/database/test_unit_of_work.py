"""What is put off to the end of a transaction is done there, once, or nothing is."""

from typing import Any

import pytest

from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import UnitOfWork
from tests.common.probe.service import EFFECTS, effects


async def write_all(uow: UnitOfWork, keys: list[Any]) -> None:
    """One row that counts the keys, of which none may be empty."""
    if "" in keys:
        raise ValueError("an empty key")
    await uow.connection.execute(EFFECTS.insert().values(key="+".join(keys), number=len(keys)))


async def test_what_is_deferred_is_done_once_with_all_items(database: Database) -> None:
    async with database.unit_of_work() as uow:
        for key in ("a", "b", "c"):
            uow.defer(write_all, key)

    assert len(await effects(database)) == 1


async def test_what_is_deferred_and_fails_takes_the_transaction_with_it(
    database: Database,
) -> None:
    async def work() -> None:
        async with database.unit_of_work() as uow:
            await write_all(uow, ["before"])
            uow.defer(write_all, "")

    with pytest.raises(ValueError, match="an empty key"):
        await work()

    assert await effects(database) == []

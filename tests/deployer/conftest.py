"""A deployer's database."""

from collections.abc import AsyncGenerator

import pytest

from loopwright_common.database.database import Database
from loopwright_deployer.main import MIGRATIONS


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await Database.open(database_url, "deployer", MIGRATIONS)
    yield opened
    await opened.close()

from collections.abc import AsyncGenerator

import pytest

from loopwright_common.database import Database
from tests.common.probe import service


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await service.open_database(database_url)
    yield opened
    await opened.close()

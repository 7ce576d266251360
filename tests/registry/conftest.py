"""The registry's app on a real database and store, without a network."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from loopwright_common.artifacts import DirectoryStore
from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.metrics import Metrics
from loopwright_registry.main import MIGRATIONS, build_app


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await Database.open(database_url, "registry", MIGRATIONS)
    yield opened
    await opened.close()


@pytest.fixture
async def client(
    database: Database, store: DirectoryStore
) -> AsyncGenerator[httpx.AsyncClient, None]:
    app = build_app(database, store, Metrics(), {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened

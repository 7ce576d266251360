"""A deployer's database and its API."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from loopwright_common.database.database import Database
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import add_routes, create_app
from loopwright_deployer.api import create_router
from loopwright_deployer.main import MIGRATIONS
from tests.engines import Migrations


@pytest.fixture
def migrations() -> Migrations:
    return "deployer", MIGRATIONS


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await Database.open(database_url, "deployer", MIGRATIONS)
    yield opened
    await opened.close()


@pytest.fixture
async def api(database: Database) -> AsyncGenerator[httpx.AsyncClient, None]:
    app = create_app("deployer", Metrics(), {})
    add_routes(app, create_router(database, "production", lambda _model: None))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client

"""The registry's app on a real database and store, without a network."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from loopwright_common.connections import Connections, create_engine
from loopwright_common.database import Database
from loopwright_common.directory_store import DirectoryStore
from loopwright_common.metrics import Metrics
from loopwright_registry.main import MIGRATIONS, build_app
from loopwright_registry.wire import Call

LARGEST_UPLOAD = 4 << 20


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database file; migrating is the slowest part of a small test."""
    directory = tmp_path_factory.mktemp("migrated")

    async def migrate() -> None:
        await (await Database.open(f"sqlite:///{directory}", "registry", MIGRATIONS)).close()

    asyncio.run(migrate())
    return directory / "registry.db"


@pytest.fixture
def migrated_url(database_url: str, migrated: Path) -> str:
    directory = Path(database_url.removeprefix("sqlite:///"))
    directory.mkdir()
    shutil.copy(migrated, directory)
    return database_url


@pytest.fixture
async def database(migrated_url: str) -> AsyncGenerator[Database, None]:
    opened = Database(Connections(create_engine(migrated_url, "registry")), "registry")
    yield opened
    await opened.close()


@pytest.fixture
async def client(
    database: Database, store: DirectoryStore
) -> AsyncGenerator[httpx.AsyncClient, None]:
    app = build_app(Call(database, store, largest_upload=LARGEST_UPLOAD), Metrics(), {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened

"""The registry's app on a real database and store, without a network."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.connections import ConnectionPool, create_engine
from loopwright_common.database.database import Database
from loopwright_common.observability.metrics import Metrics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.main import MIGRATIONS, build_app
from loopwright_registry.mlflow.endpoint import MlflowContext
from tests.engines import run_sql
from tests.registry.harness import Client, Serve, running_replica

LARGEST_UPLOAD = 4 << 20
EMPTY = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables
    WHERE schemaname = 'registry' AND tablename !~ '^(alembic|experiments$)'
  LOOP EXECUTE format('DELETE FROM registry.%I', name); END LOOP;
  DELETE FROM registry.experiments WHERE experiment_id > 0;
  UPDATE registry.experiments SET name = 'Default', lifecycle_stage = 'active';
END $$
"""


async def migrate(url: str) -> None:
    await (await Database.open(url, "registry", MIGRATIONS)).close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database file; migrating is the slowest part of a small test."""
    directory = tmp_path_factory.mktemp("migrated")
    asyncio.run(migrate(f"sqlite:///{directory}"))
    return directory / "registry.db"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> Generator[str, None, None]:
    """One database for all of these tests, and its schema made once."""
    name = f"registry_{uuid.uuid4().hex}"
    run_sql(postgres_server, f"CREATE DATABASE {name}")
    url = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    asyncio.run(migrate(url))
    yield url
    run_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(migrated_postgres: str) -> str:
    """That database, emptied."""
    run_sql(migrated_postgres, EMPTY)
    return migrated_postgres


@pytest.fixture
def migrated_url(database_url: str, migrated: Path) -> str:
    if database_url.startswith("postgresql"):
        return database_url
    directory = Path(database_url.removeprefix("sqlite:///"))
    directory.mkdir()
    shutil.copy(migrated, directory)
    return database_url


@pytest.fixture
async def database(migrated_url: str) -> AsyncGenerator[Database, None]:
    opened = Database(ConnectionPool(create_engine(migrated_url, "registry")), "registry")
    yield opened
    await opened.close()


@pytest.fixture
async def client(
    database: Database, store: FilesystemStore
) -> AsyncGenerator[httpx.AsyncClient, None]:
    context = MlflowContext(database, store, largest_upload=LARGEST_UPLOAD)
    app = build_app(
        context, EventFeed(database, FeedLimits()), Metrics(), {"artifacts": store.check}
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture
async def serve(bus: SqliteBus, tmp_path: Path, migrated_url: str) -> AsyncGenerator[Serve, None]:
    """Starts replicas that share bus and database."""
    async with AsyncExitStack() as stack:

        async def start(**given: Any) -> Client:
            return await stack.enter_async_context(
                running_replica(bus, tmp_path, migrated_url, **given)
            )

        yield start


@pytest.fixture
async def url(tmp_path: Path, bus: SqliteBus, database_url: str) -> AsyncGenerator[str, None]:
    """Where a whole registry listens, relay and consumers included."""
    async with running_replica(bus, tmp_path, database_url) as client:
        yield str(client.base_url).rstrip("/")

"""A monitor per test, on real files."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_monitor.main import MIGRATIONS
from tests.engines import Migrations
from tests.monitor import crash_process
from tests.monitor.harness import MonitorHarness
from tests.monitor.replicas import Pair


@pytest.fixture
def migrations() -> Migrations:
    return "monitor", MIGRATIONS


@pytest.fixture
async def harness(
    database_url: str, bus: SqliteBus, store: FilesystemStore
) -> AsyncGenerator[MonitorHarness, None]:
    async with AsyncExitStack() as stack:
        yield await MonitorHarness.open(stack, database_url, bus, store)


@pytest.fixture
async def pair(
    database_url: str, bus: EventBus, store: ArtifactStore
) -> AsyncGenerator[Pair, None]:
    """Two replicas of one service; SQLite has one connection for both."""
    async with AsyncExitStack() as stack:
        database = await Database.open(database_url, "monitor", MIGRATIONS)
        stack.push_async_callback(database.close)
        yield MonitorHarness(database, bus, store, 3), MonitorHarness(database, bus, store, 3)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of the stream of `crash_process` when nobody is killed."""
    directory = tmp_path_factory.mktemp("undisturbed")

    async def run() -> dict[str, Any]:
        await crash_process.main(directory)
        async with AsyncExitStack() as stack:
            harness = await crash_process.open_harness(directory, stack)
            return await crash_process.outcome_of(harness, directory / "out")

    with asyncio.Runner() as runner:
        return runner.run(run())


@pytest.fixture(scope="session")
def training() -> pa.Table:
    rng = np.random.default_rng(7)
    return pa.table(
        {
            "age": rng.normal(40, 10, 4000),
            "contact": rng.choice(["cellular", "unknown"], 4000, p=[0.1, 0.9]),
            "y": rng.choice(["no", "yes"], 4000, p=[0.9, 0.1]),
        }
    )

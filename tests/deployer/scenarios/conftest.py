"""Both kinds of engines, for what a deployer, a scorer and a monitor do together."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from loopwright_common.bus.topics import all_topics
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from tests.deployer.harness import DeployerHarness, running_harness


class Engine(NamedTuple):
    """Where the bus and the databases are."""

    bus_url: str
    topic_prefix: str
    database_url: str


@pytest.fixture(params=["embedded", "distributed"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "embedded":
        urls = (f"sqlite:///{tmp_path / 'bus'}", "", f"sqlite:///{tmp_path / 'databases'}")
        return Engine(*urls)
    kafka_url = request.getfixturevalue("kafka_url")
    return Engine(kafka_url, f"{uuid.uuid4().hex[:8]}.", request.getfixturevalue("postgres_url"))


@asynccontextmanager
async def capturing_harness(
    engine: Engine, directory: Path, store: FilesystemStore, package: Path
) -> AsyncGenerator[DeployerHarness, None]:
    """The services with a monitor, on the engine; nothing is registered yet."""
    if engine.topic_prefix:
        await ensure_topics(engine.bus_url, engine.topic_prefix, all_topics())
    bus = await open_bus(engine.bus_url, engine.topic_prefix)
    try:
        async with running_harness(
            directory, bus, store, package, database_url=engine.database_url, captures=True
        ) as harness:
            yield harness
    finally:
        await bus.close()

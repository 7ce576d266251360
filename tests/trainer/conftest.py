"""A running trainer with a repository and a registry."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_trainer.main import MIGRATIONS
from tests.engines import Migrations
from tests.trainer.harness import FILES, RecordingRegistry, TrainerHarness, Upstream, running


@pytest.fixture
def migrations() -> Migrations:
    return "trainer", MIGRATIONS


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    repository = Upstream(tmp_path / "upstream")
    repository.commit(FILES, "Begin")
    return repository


@pytest.fixture
def registry() -> RecordingRegistry:
    return RecordingRegistry()


@pytest.fixture
async def trainer(
    tmp_path: Path, bus: SqliteBus, registry: RecordingRegistry, database_url: str
) -> AsyncGenerator[TrainerHarness, None]:
    async with running(tmp_path, bus, registry, database_url=database_url) as trainer:
        yield trainer

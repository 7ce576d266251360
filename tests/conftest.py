"""Fixtures for every test: real SQLite files and a real store in a directory of their own."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

# One thread each: linear algebra with several threads on busy cores is slower by far.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from hypothesis import settings  # noqa: E402

from loopwright_common.artifacts import DirectoryStore  # noqa: E402
from loopwright_common.sqlite_log import SqliteLog  # noqa: E402
from tests.holding import watching  # noqa: E402

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'databases'}"


@pytest.fixture
async def watched() -> AsyncGenerator[None, None]:
    """Whoever holds a transaction in this test awaits nothing but the database."""
    with watching() as watch:
        yield
    assert watch.faults == []


@pytest.fixture
async def bus(tmp_path: Path, watched: None) -> AsyncGenerator[SqliteLog, None]:
    log = await SqliteLog.open(tmp_path / "bus")
    yield log
    await log.close()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "artifacts")

"""Fixtures for every test: real SQLite files and a real store in a directory of their own."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

# One thread each: linear algebra with several threads on busy cores is slower by far.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# gRPC, once a test has used it, would meddle with every process that a later test starts.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import structlog  # noqa: E402
from hypothesis import settings  # noqa: E402

from loopwright_common.bus.sqlite.bus import SqliteBus  # noqa: E402
from loopwright_common.storage.filesystem import FilesystemStore  # noqa: E402
from tests.crash_shares import share_of  # noqa: E402
from tests.engines import (  # noqa: E402
    SharedKafka,
    kafka_url,
    migrated_databases,
    migrated_files,
    migrations,
    postgres_server,
    postgres_url,
    sqlite_url,
)
from tests.holding import watching  # noqa: E402
from tests.scheduling import make_scheduler, rank  # noqa: E402
from tests.stores import s3_endpoint, s3_server  # noqa: E402

__all__ = [
    "kafka_url",
    "migrated_databases",
    "migrated_files",
    "migrations",
    "postgres_server",
    "postgres_url",
    "s3_endpoint",
    "s3_server",
    "sqlite_url",
]

# By default a logged exception is drawn with all local variables, which takes a second each.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")


_SHARED_KAFKA = pytest.StashKey[SharedKafka]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crash-share",
        type=int,
        metavar="COMMIT",
        help="of the tests, those that the commit of this number runs: each is run by one of four",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))
    commit = config.getoption("--crash-share")
    if commit is None:
        return
    by_id = {item.nodeid: item for item in items}
    chosen = share_of(by_id, commit)
    config.hook.pytest_deselected(items=[by_id[i] for i in by_id if i not in set(chosen)])
    items[:] = [by_id[test] for test in chosen]


def pytest_configure_node(node: Any) -> None:
    """A worker is about to start; a broker of its own would take a core for seconds."""
    if _SHARED_KAFKA not in node.config.stash:
        node.config.stash[_SHARED_KAFKA] = SharedKafka()
    node.workerinput["kafka"] = str(node.config.stash[_SHARED_KAFKA].url_file)


def pytest_unconfigure(config: pytest.Config) -> None:
    if shared := config.stash.get(_SHARED_KAFKA, None):
        shared.stop()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return make_scheduler(config, log)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a database runs on both engines."""
    return str(
        request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    )


@pytest.fixture
async def watched(request: pytest.FixtureRequest) -> AsyncGenerator[None, None]:
    """On SQLite, whoever holds a transaction in this test awaits nothing but the database."""
    if "postgresql" in request.node.name:
        yield
        return
    with watching() as watch:
        yield
    assert watch.faults == []


@pytest.fixture
async def bus(tmp_path: Path, watched: None) -> AsyncGenerator[SqliteBus, None]:
    log = await SqliteBus.open(tmp_path / "bus")
    yield log
    await log.close()


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path / "artifacts")

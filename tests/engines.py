"""Real engines for the tests: given by address, in containers where Docker answers, or packages."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer

from loopwright.engines import Kafka, Postgres
from loopwright_common.database.database import Database

_START_SECONDS = 300.0
Migrations = tuple[str, Path]


class SharedKafka:
    """One broker for all workers of a run: their controller starts it while they collect."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="loopwright-kafka-"))
        self.url_file = self._directory / "url"
        self._open = ExitStack()
        self._thread = ThreadPoolExecutor(1)
        self._started = self._thread.submit(self._start)

    def stop(self) -> None:
        self._thread.submit(self._open.close).result()
        self._thread.shutdown()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._started.result()

    def _start(self) -> None:
        partial = self._directory / "partial"
        try:
            partial.write_text(self._open.enter_context(kafka(self._directory / "broker")))
        except BaseException as error:
            partial.write_text(f"failed: {error}")
            raise
        finally:
            partial.rename(self.url_file)


class MortalKafka(Kafka):
    """One to be killed; a thread that outlives the tests starts it, as it dies with its parent."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._thread = ThreadPoolExecutor(1)

    async def comes_up(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.start)


@contextmanager
def kafka(directory: Path) -> Generator[str, None, None]:
    """The URL of a Kafka broker, such as `kafka://127.0.0.1:9092`."""
    if given := os.environ.get("LOOPWRIGHT_TEST_KAFKA"):
        yield given
    elif _docker_answers():
        with KafkaContainer("apache/kafka:4.1.0").with_kraft() as container:
            yield f"kafka://{container.get_bootstrap_server()}"
    else:
        broker = Kafka(directory)
        broker.start()
        try:
            yield broker.url
        finally:
            broker.stop()


@contextmanager
def postgres(directory: Path) -> Generator[str, None, None]:
    """The URL of a PostgreSQL server's default database."""
    if given := os.environ.get("LOOPWRIGHT_TEST_POSTGRES"):
        yield given
    elif _docker_answers():
        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()
    else:
        server = Postgres(directory)
        server.start()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            # The machine itself does not fail in a test, and a new database takes a third less.
            run_sql(server.url, f"ALTER SYSTEM SET {setting} = off")
        run_sql(server.url, "SELECT pg_reload_conf()")
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def kafka_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str, None, None]:
    """That of all workers, or of this process alone."""
    shared = getattr(request.config, "workerinput", {}).get("kafka")
    if shared:
        yield _await_url(Path(shared))
        return
    with kafka(tmp_path_factory.mktemp("kafka")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Generator[str, None, None]:
    # pytest's own directory is closed to the server's user whenever another session starts.
    with (
        tempfile.TemporaryDirectory(prefix="loopwright-") as directory,
        postgres(Path(directory) / "data") as url,
    ):
        yield url


@pytest.fixture
def migrations() -> Migrations | None:
    """What a service's tests override: its name and its migrations, to be run once for all."""
    return None


@pytest.fixture(scope="session")
def migrated_databases() -> dict[str, str]:
    """The databases that were migrated to be copied, by their service."""
    return {}


@pytest.fixture
def postgres_url(
    postgres_server: str, migrations: Migrations | None, migrated_databases: dict[str, str]
) -> Generator[str, None, None]:
    """A database of this test's own, dropped after it."""
    template = "template1"
    if migrations and not (template := migrated_databases.get(migrations[0], "")):
        template = f"{migrations[0]}_{uuid.uuid4().hex}"
        run_sql(postgres_server, f"CREATE DATABASE {template}")
        _migrate(_database_url(postgres_server, template), migrations)
        migrated_databases[migrations[0]] = template
    name = f"test_{uuid.uuid4().hex}"
    run_sql(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database_url(postgres_server, name)
    run_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each service whose files were migrated to be copied."""
    return tmp_path_factory.mktemp("migrated-files")


@pytest.fixture
def sqlite_url(tmp_path: Path, migrations: Migrations | None, migrated_files: Path) -> str:
    """Files of this test's own."""
    directory = tmp_path / "databases"
    if migrations:
        template = migrated_files / migrations[0]
        if not template.exists():
            _migrate(f"sqlite:///{template}", migrations)
        shutil.copytree(template, directory)
    return f"sqlite:///{directory}"


def _database_url(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _migrate(url: str, migrations: Migrations) -> None:
    """Migrating is the slowest part of a small test."""

    async def run() -> None:
        await (await Database.open(url, *migrations)).close()

    with asyncio.Runner() as runner:
        runner.run(run())


def run_sql(url: str, statement: str) -> None:
    """One statement outside any transaction."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    with asyncio.Runner() as runner:
        runner.run(run())


def _await_url(file: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "the broker of all workers does not come up"
        time.sleep(0.1)
    url = file.read_text()
    assert not url.startswith("failed"), url
    return url


def _docker_answers() -> bool:
    return Path("/var/run/docker.sock").exists() or "DOCKER_HOST" in os.environ

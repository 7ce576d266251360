"""What PostgreSQL's faults become: passing ones are told apart, in words a person can act on."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError

from loopwright.engines import Postgres
from loopwright_common.database.database import Database
from loopwright_common.database.postgres import is_transient
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import delivery_readiness
from loopwright_common.web.app import create_app
from tests.common.probe import service
from tests.common.probe.service import EFFECTS, effects
from tests.common.replica_processes import cut_all

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

PASSING = ["08006", "25006", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01",
           "58030"]  # fmt: skip
OURS = ["22012", "23514", "42P01", "42501", "P0001", "XX000"]


async def execute(database: Database, *statements: str, pause: float = 0) -> None:
    async with database.unit_of_work() as uow:
        for statement in statements:
            await uow.connection.exec_driver_sql(statement)
            await asyncio.sleep(pause)


def raising(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize("state", PASSING)
async def test_a_passing_fault_is_unavailable(database: Database, state: str) -> None:
    with pytest.raises(UnavailableError, match="database of probe: as told"):
        await execute(database, raising(state))


@pytest.mark.parametrize("state", OURS)
async def test_any_other_stays_an_error(database: Database, state: str) -> None:
    with pytest.raises(DBAPIError, match="as told"):
        await execute(database, raising(state))


async def test_a_value_that_the_driver_refuses_is_no_passing_fault(database: Database) -> None:
    async with database.read() as connection:
        too_large = sa.insert(EFFECTS).values(key="a", number=1 << 40)
        with pytest.raises(DBAPIError, match="out of int32 range") as refused:
            await connection.execute(too_large)
    assert not is_transient(refused.value)


async def test_two_that_wait_for_each_other_cost_one_of_them_a_repetition(
    database: Database,
) -> None:
    async def lock(first: str, second: str) -> None:
        async with database.unit_of_work() as uow:
            await uow.lock(first)
            await asyncio.sleep(0.1)
            await uow.lock(second)

    ended = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)

    (failed,) = (each for each in ended if each)
    assert isinstance(failed, UnavailableError)
    assert "deadlock detected" in str(failed)


async def test_connections_cut_while_idle_are_replaced_unseen(
    database: Database, database_url: str, postgres_server: str
) -> None:
    await asyncio.gather(*(service.tell(database, "a", number) for number in range(5)))
    name = make_url(database_url).database or ""
    assert await cut_all(postgres_server, name, wait_ms=10_000) >= 2

    await asyncio.gather(*(service.tell(database, "b", number) for number in range(5)))


LOCK = "SELECT pg_advisory_xact_lock(1)"


@pytest.mark.parametrize("limit", ["lock", "statement"])
async def test_who_waits_past_a_limit_that_the_url_sets_may_repeat(
    database_url: str, limit: str
) -> None:
    database = await service.open_database(f"{database_url}&{limit}_timeout=100ms")
    async with database.unit_of_work() as holder:
        await holder.connection.exec_driver_sql(LOCK)
        with pytest.raises(UnavailableError, match=f"due to {limit} timeout"):
            await execute(database, LOCK)
    await database.close()


async def test_who_holds_a_transaction_for_too_long_loses_it_and_may_repeat(
    database_url: str,
) -> None:
    url = f"{database_url}&idle_in_transaction_session_timeout=100ms"
    database = await service.open_database(url)
    with pytest.raises(UnavailableError, match="closed"):
        await execute(database, LOCK, LOCK, pause=0.3)
    await execute(database, LOCK, LOCK)
    await database.close()


async def test_who_finds_no_free_connection_in_time_may_repeat(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright_common.database.postgres._CONNECT_SECONDS", 0.5)
    database = await service.open_database(f"{database_url}&connections=2")
    async with database.read(), database.read():
        with pytest.raises(UnavailableError, match="size 2"):
            await effects(database)
    assert await effects(database) == []
    await database.close()


async def test_a_broken_rule_is_told_as_such(database: Database) -> None:
    await execute(database, "CREATE UNIQUE INDEX one_number ON effects (number)")
    with pytest.raises(IntegrityError, match="one_number"):
        await execute(database, "INSERT INTO effects (key, number) VALUES ('a', 1), ('b', 1)")


async def test_over_the_network_a_server_that_hangs_up_is_replaced_by_a_new_connection(
    database_url: str,
) -> None:
    async with relayed(database_url) as (url, hang_up):
        database = await service.open_database(url)
        await service.tell(database, "a", 1)
        hang_up()
        await asyncio.sleep(0.1)
        await service.tell(database, "a", 2)
        await database.close()


@asynccontextmanager
async def relayed(url: str) -> AsyncGenerator[tuple[str, Callable[[], None]], None]:
    """The same database by way of a TCP port, and what cuts its connections."""
    place = make_url(url)
    ends: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while some := await source.read(65536):
            sink.write(some)
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if place.host:
            answers, questions = await asyncio.open_connection(place.host, place.port)
        else:
            path = f"{place.query['host']}/.s.PGSQL.5432"
            answers, questions = await asyncio.open_unix_connection(path)
        ends.extend((writer, questions))
        with suppress(OSError):
            await asyncio.gather(pump(reader, questions), pump(answers, writer))

    def hang_up() -> None:
        for end in ends:
            end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    by_port = place.set(host="127.0.0.1", port=port).difference_update_query(["host"])
    yield by_port.render_as_string(hide_password=False), hang_up
    server.close()
    hang_up()
    await asyncio.sleep(0.05)


async def test_a_database_that_does_not_exist_is_named_with_the_setting(database_url: str) -> None:
    missing = make_url(database_url).set(database="nowhere", password="S3cret", username="postgres")
    with pytest.raises(UnavailableError) as refused:
        await service.open_database(missing.render_as_string(hide_password=False))

    assert 'database "nowhere" does not exist' in str(refused.value)
    assert "LOOPWRIGHT_DATABASE_URL" in str(refused.value)
    assert "S3cret" not in str(refused.value)


async def test_a_server_that_does_not_listen_is_named_with_the_setting(database_url: str) -> None:
    with pytest.raises(UnavailableError, match=r"at 127.0.0.1:1/loopwright; start it") as refused:
        await service.open_database("postgresql://me:S3cret@127.0.0.1:1/loopwright")
    assert "S3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:S3cret@there/loopwright",
        "mysql://me:S3cret@there/loopwright",
        "postgresql://me:S3cret@there:port/loopwright",
        "postgresql://me:S3cret@there/loopwright?connections=many",
        "S3cret",
    ],
)
async def test_a_url_that_names_no_database_is_refused_without_its_password(
    database_url: str, url: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        await service.open_database(url)
    assert refused.value.field == "database_url"
    assert "S3cret" not in str(refused.value)


@pytest.fixture
def server() -> Generator[Postgres, None, None]:
    """One of the test's own, in a place that is open to the server's user."""
    with tempfile.TemporaryDirectory(prefix="loopwright-") as directory:
        made = Postgres(Path(directory) / "data")
        made.start()
        yield made
        made.stop()


async def test_a_service_says_that_its_database_is_away_and_recovers(
    database_url: str, server: Postgres
) -> None:
    database = await service.open_database(server.url)
    app = create_app("probe", Metrics(), delivery_readiness(database, []))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await asyncio.to_thread(server.stop)
        unready = await client.get("/readyz")
        alive = await client.get("/livez")
        await asyncio.to_thread(server.start)
        ready = await client.get("/readyz")
    await database.close()

    assert unready.status_code == 503
    assert unready.json()["checks"]["database"].startswith("database of probe: ")
    assert (alive.status_code, ready.status_code) == (200, 200)

"""PostgreSQL goes away while two replicas work: nothing is lost, nothing happens twice."""

import asyncio
import os
import signal
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from loopwright.engines import Postgres
from loopwright_common.bus.sqlite.bus import SqliteBus
from tests.common.replica_processes import cut_all, replicas, verdict_on

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
async def test_connections_cut_in_a_loop_lose_and_repeat_nothing(
    database_url: str, postgres_server: str, bus: SqliteBus
) -> None:
    name, cuts = make_url(database_url).database or "", 0
    with capture_logs():
        async with replicas(database_url, bus) as (one, other):
            while cuts < 100:
                telling = [asyncio.create_task(each.tell(15)) for each in (one, other)]
                while any(not task.done() for task in telling):
                    await asyncio.sleep(0.1)
                    cuts += await cut_all(postgres_server, name)
                await asyncio.gather(*telling)
            verdict = await verdict_on([one, other])

    print(f"{cuts} connections cut, {one.repeated + other.repeated} transactions again: {verdict}")  # noqa: T201
    assert verdict.clean, verdict


@pytest.fixture
def server() -> Generator[Postgres, None, None]:
    """One of the test's own, in a place that is open to the server's user."""
    with tempfile.TemporaryDirectory(prefix="loopwright-") as directory:
        made = Postgres(Path(directory) / "data")
        made.start()
        yield made
        made.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_server_that_restarts_loses_and_repeats_nothing(
    how: str, server: Postgres, tmp_path: Path
) -> None:
    bus = await SqliteBus.open(tmp_path / "bus")
    with capture_logs():
        async with replicas(server.url, bus) as (one, other):
            for _ in range(2):
                telling = [asyncio.create_task(each.tell(60)) for each in (one, other)]
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.stop if how == "stopped" else server.kill)
                await asyncio.to_thread(server.start)
                await asyncio.gather(*telling)
            verdict = await verdict_on([one, other])
    await bus.close()

    print(f"server {how} twice: {verdict}")  # noqa: T201
    assert verdict.clean, verdict


async def test_a_killed_server_starts_again_once_its_last_process_is_gone(
    server: Postgres,
) -> None:
    connection = await asyncpg.connect(server.url)
    lingering = await connection.fetchval("SELECT pg_backend_pid()")
    os.kill(lingering, signal.SIGSTOP)
    postmaster = psutil.Process(lingering).parent()
    assert postmaster
    postmaster.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, postmaster.pid, os.WEXITED | os.WNOWAIT)
    server.kill()
    connection.terminate()
    goes_on = threading.Timer(0.5, os.kill, (lingering, signal.SIGCONT))

    goes_on.start()
    await asyncio.to_thread(server.start)

    await (await asyncpg.connect(server.url)).close()
    goes_on.join()

"""A full disk: refused with its reason, nothing half-done, and the work goes on with space."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

import httpx
import pytest
import sqlalchemy as sa
import structlog
from structlog.testing import capture_logs

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, outbox, parked
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.errors import UnavailableError
from loopwright_common.observability.logs import Unfailing
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import delivery_readiness
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.web.app import create_app
from tests.common.delivery.test_consumer import code_changed, rows
from tests.common.probe import service
from tests.common.probe.service import Effect, effects
from tests.faults import full_disk

# The limit holds for files of this process; a server's full disk is a fault it tells of.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_an_artifact_that_does_not_fit_is_refused_and_leaves_nothing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with full_disk(), pytest.raises(UnavailableError, match=r"store: .*File too large"):
        await store.put(b"x" * (1 << 20))

    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
    assert (await store.put(b"x" * (1 << 20))).size == 1 << 20


@on_sqlite
async def test_a_transaction_that_does_not_fit_changes_and_tells_nothing(
    database: Database,
) -> None:
    with full_disk():
        for number in range(3):
            with pytest.raises(UnavailableError, match="database of probe"):
                await service.tell(database, "a", number)

    assert not await rows(database, outbox)
    await service.tell(database, "a", 4)
    assert len(await rows(database, outbox)) == 1


@on_sqlite
async def test_a_service_without_space_is_unready_until_there_is_some(
    database: Database,
) -> None:
    app = create_app("probe", Metrics(), delivery_readiness(database, []))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with full_disk():
            with pytest.raises(UnavailableError):
                await service.tell(database, "a", 1)
            unready = await client.get("/readyz")
        ready = await client.get("/readyz")

    assert unready.json()["checks"]["database"] == "database of probe: disk I/O error"
    assert ready.status_code == 200


@on_sqlite
async def test_a_database_at_its_limit_changes_nothing(database: Database) -> None:
    async with database.read() as connection:
        pages = await connection.scalar(sa.text("PRAGMA page_count"))
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UnavailableError, match="full"):
        await service.tell(database, "x" * 100_000, 1)

    assert await effects(database) == []


@on_sqlite
async def test_a_consumer_waits_for_space_and_then_handles_each_event_once(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([code_changed("a", 1), code_changed("a", 2)])
    consumer = asyncio.create_task(service.consumer(database, bus).run())
    with capture_logs(), full_disk():
        await asyncio.sleep(0.5)
        assert not consumer.done()

    async with asyncio.timeout(120):
        while len(await effects(database)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    consumer.cancel()

    assert await effects(database) == [Effect("a", 1), Effect("a", 2)]
    assert not await rows(database, dead_letters)
    assert not await rows(database, parked)


async def test_a_full_event_log_leaves_events_in_the_outbox(
    database: Database, bus: SqliteBus
) -> None:
    relay = OutboxRelay(database, bus, Metrics())
    await service.tell(database, "a", 1)
    with full_disk(), pytest.raises(UnavailableError, match="event log"):
        await relay.publish_some()

    assert await relay.publish_some()
    assert len(await bus.read(["code-changed"], 0, 10)) == 1


def test_logging_on_a_full_disk_never_fails_its_caller() -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115  (closing it fails too)
    with pytest.raises(OSError, match="No space left"):
        structlog.PrintLogger(full).msg("a line")
    structlog.PrintLogger(cast(TextIO, Unfailing(full))).msg("a line")
    with suppress(OSError):
        full.close()

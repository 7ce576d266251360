"""What a service shows of its delivery, and what the relay refuses, forgets and waits for."""

from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import inbox, outbox
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.errors import TooLargeError, UnavailableError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import delivery_readiness
from loopwright_common.web.app import add_routes, create_app
from tests.common.delivery.test_consumer import code_changed, handle_all, rows
from tests.common.probe import service


def client_of(database: Database, bus: EventBus) -> httpx.AsyncClient:
    consumers = [service.consumer(database, bus)]
    app = create_app("probe", Metrics(), delivery_readiness(database, consumers))
    add_routes(app, create_delivery_router(database, consumers))
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_an_event_too_large_for_its_topic_is_refused_before_it_commits(
    database: Database,
) -> None:
    with pytest.raises(TooLargeError, match="at most 1048576"):
        await service.tell(database, "a" * (1 << 20), 1)
    assert not await rows(database, outbox)


async def test_a_relay_that_falls_behind_makes_its_service_unready(
    database: Database, bus: SqliteBus
) -> None:
    await service.tell(database, "a", 1)
    async with client_of(database, bus) as client:
        assert (await client.get("/readyz")).status_code == 200
        async with database.unit_of_work() as uow:
            long_ago = clock.now() - timedelta(minutes=1)
            await uow.connection.execute(sa.update(outbox).values(created_at=long_ago))
        unready = await client.get("/readyz")
        await OutboxRelay(database, bus, Metrics()).publish_some()
        ready = await client.get("/readyz")

    assert unready.status_code == 503
    assert unready.json()["checks"]["relay"].startswith(
        "1 event not published yet, the oldest of 2"
    )
    assert ready.status_code == 200


async def test_the_relay_forgets_what_was_published_and_claimed_long_ago(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([code_changed("a", 1)])
    await handle_all(service.consumer(database, bus), bus)
    relay = OutboxRelay(database, bus, Metrics())
    await relay.publish_some()
    async with database.unit_of_work() as uow:
        ages = clock.now() - timedelta(days=400)
        await uow.connection.execute(sa.update(outbox).values(published_at=ages))
        await uow.connection.execute(sa.update(inbox).values(handled_at=ages))

    await relay.forget()

    assert not await rows(database, outbox)
    assert not await rows(database, inbox)


async def test_a_bus_that_is_away_leaves_events_for_later(
    database: Database, bus: SqliteBus
) -> None:
    await service.tell(database, "a", 1)
    await bus.work(lambda log: log.exec_driver_sql("ALTER TABLE log RENAME TO away"))
    relay = OutboxRelay(database, bus, Metrics())
    with pytest.raises(UnavailableError, match="no such table"):
        await relay.publish_some()

    await bus.work(lambda log: log.exec_driver_sql("ALTER TABLE away RENAME TO log"))
    assert await relay.publish_some()
    assert [row.published_at is None for row in await rows(database, outbox)] == [False]

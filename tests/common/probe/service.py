"""A service that imports only the common library: it notes each event and tells another."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import inbox, outbox
from loopwright_common.database.dialect import upsert
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.events import CodeChanged, Event, RetrainRequested
from loopwright_common.observability.metrics import Metrics

VERSIONS = Path(__file__).parent / "versions"
EFFECTS = sa.table("effects", sa.column("position"), sa.column("key"), sa.column("number"))
HASTY = RetryPolicy(delays=(0.01, 0.01, 0.01), poison_limit=1000)


class Effect(NamedTuple):
    key: str
    number: int


async def open_database(url: str, service: str = "probe") -> Database:
    return await Database.open(url, service, VERSIONS)


async def tell(database: Database, key: str, number: int) -> str:
    """Emit one `code-changed`; returns its id."""
    async with database.unit_of_work() as uow:
        return await emit(uow, key, number)


async def tell_once(database: Database, key: str, number: int) -> None:
    """As `tell`, but changes nothing where that was kept before; for repetition after any fault."""
    await tell_together(database, [(key, number)])


async def tell_together(database: Database, facts: Sequence[tuple[str, int]]) -> None:
    """As `tell_once`, several in one transaction."""
    async with database.unit_of_work() as uow:
        for key, number in facts:
            claim = {"consumer": "probe.teller", "event_id": f"{key}/{number}",
                     "handled_at": clock.now()}  # fmt: skip
            if await upsert(uow.connection, inbox, claim):
                await emit(uow, key, number)


async def emit(uow: UnitOfWork, key: str, number: int) -> str:
    data = CodeChanged(repository=key, ref="refs/heads/main", commit=str(number))
    return (await uow.emit(data, key=key, subject=f"repositories/{key}")).id


async def on_code_changed(event: Event[CodeChanged], uow: UnitOfWork) -> None:
    row = {"key": event.key, "number": int(event.data.commit)}
    await uow.connection.execute(sa.insert(EFFECTS).values(row))
    retrain = RetrainRequested(pipeline=event.key, reason="person", requested_by="probe")
    await uow.emit(retrain, key=event.key, subject=f"pipelines/{event.key}")


HANDLERS: Handlers = {CodeChanged: on_code_changed}


def consumer(database: Database, bus: EventBus, handlers: Handlers = HANDLERS) -> Consumer:
    return Consumer("probe.worker", handlers, database, bus, Metrics(), retry_policy=HASTY)


async def count_effects(database: Database) -> int:
    async with database.read() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(EFFECTS)) or 0


async def waiting(database: Database) -> int:
    """How many events the relay has not published."""
    query = sa.select(sa.func.count()).where(outbox.c.published_at.is_(None))
    async with database.read() as connection:
        return await connection.scalar(query) or 0


async def effects(database: Database) -> list[Effect]:
    query = sa.select(EFFECTS.c.key, EFFECTS.c.number).order_by(EFFECTS.c.position)
    async with database.read() as connection:
        return [Effect(*row) for row in await connection.execute(query)]

"""Leases with fencing: one worker at a time does a job, and a late one is refused.

A lease ends when its holder stops renewing it, by the database's clock. Its token is new each time
it is taken; whoever writes for the job confirms the token in the same transaction, so a worker that
was away too long cannot overwrite what its successor did.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import leases
from loopwright_common.database.dialect import UtcDateTime
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError, UnavailableError
from loopwright_common.ids import new_id

log = structlog.get_logger()
LEASE = timedelta(seconds=10)


class LeaseLostError(ConflictError):
    """Another worker has the job now; nothing may be written for it any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do the job `name`, as long as `token` is the current one."""

    name: str
    token: str


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """A lease in the hands of `holder` (host/pid); without a renewal it ends after `remaining`.

    A lease that has ended without being taken anew has less than nothing remaining.
    """

    holder: str
    until: datetime
    remaining: timedelta


async def acquire(uow: UnitOfWork, name: str, length: timedelta = LEASE) -> Lease | None:
    """The lease, or None while another holds it."""
    dialect = sqlite if uow.connection.dialect.name == "sqlite" else postgresql
    now, until = _database_time(uow.connection), _database_time(uow.connection, length)
    row = {"token": new_id(), "holder": f"{socket.gethostname()}/{os.getpid()}"}
    new = dialect.insert(leases).values(name=name, until=until, **row)
    taken = new.on_conflict_do_update(
        index_elements=["name"],
        set_={column: new.excluded[column] for column in ("token", "holder", "until")},
        where=leases.c.until <= now,
    )
    written = await uow.connection.execute(taken.returning(leases.c.token))
    return Lease(name, row["token"]) if written.first() else None


async def is_abandoned(uow: UnitOfWork, name: str) -> bool:
    """Whether its last holder let it end and did not release it; that stays so until the commit."""
    ended = sa.select(leases.c.until <= _database_time(uow.connection))
    row = ended.where(leases.c.name == name).with_for_update()
    return bool(await uow.connection.scalar(row))


async def confirm(uow: UnitOfWork, lease: Lease) -> None:
    """LeaseLostError unless the lease is current; nobody else takes it before this commits."""
    held = sa.select(leases.c.token).where(leases.c.name == lease.name).with_for_update()
    if await uow.connection.scalar(held) != lease.token:
        raise LeaseLostError(f"{lease.name} is in other hands now")


async def renew(uow: UnitOfWork, lease: Lease, length: timedelta = LEASE) -> None:
    """LeaseLostError when another has taken it meanwhile."""
    longer = (
        sa.update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(until=_database_time(uow.connection, length))
    )
    if (await uow.connection.execute(longer)).rowcount != 1:
        raise LeaseLostError(f"{lease.name} is in other hands now")


async def release(uow: UnitOfWork, lease: Lease) -> None:
    """Free at once for others; nothing to do when it was lost."""
    mine = (leases.c.name == lease.name, leases.c.token == lease.token)
    await uow.connection.execute(sa.delete(leases).where(*mine))


async def lease_holders(
    connection: AsyncConnection, names: Sequence[str]
) -> dict[str, LeaseHolder]:
    """Who has or last had which of the leases; those free or never taken are left out."""
    columns = (
        leases.c.name,
        leases.c.holder,
        leases.c.until,
        _database_time(connection).label("now"),
    )
    rows = (await connection.execute(sa.select(*columns).where(leases.c.name.in_(names)))).all()
    return {row.name: LeaseHolder(row.holder, row.until, row.until - row.now) for row in rows}


@asynccontextmanager
async def keep_renewed(
    database: Database, lease: Lease, length: timedelta = LEASE
) -> AsyncGenerator[None, None]:
    """Renew the lease while the body runs, and release it at the end.

    LeaseLostError interrupts the body once the lease is lost, or could not be renewed in time.
    """
    limit = asyncio.timeout(None)
    try:
        async with limit:
            renewing = asyncio.create_task(_keep_renewing(database, lease, length, limit))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
    except TimeoutError:
        if not limit.expired():
            raise
        raise LeaseLostError(f"{lease.name} could not be kept") from None
    finally:
        with suppress(UnavailableError):
            async with database.unit_of_work() as uow:
                await release(uow, lease)


async def _keep_renewing(
    database: Database, lease: Lease, length: timedelta, limit: asyncio.Timeout
) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + length.total_seconds()
    while loop.time() < ends:
        await asyncio.sleep(length.total_seconds() / 4)
        try:
            async with asyncio.timeout_at(ends), database.unit_of_work() as uow:
                await renew(uow, lease, length)
        except (LeaseLostError, TimeoutError):
            break
        except UnavailableError as error:
            log.warning("lease.not-renewed", lease=lease.name, error=str(error))
        else:
            ends = loop.time() + length.total_seconds()
    limit.reschedule(loop.time())


def _database_time(
    connection: AsyncConnection, later: timedelta = timedelta()
) -> sa.ColumnElement[datetime]:
    """`later` from now by the database's clock; SQLite's one process has one clock anyway."""
    if connection.dialect.name == "sqlite":
        return sa.literal(clock.now() + later, UtcDateTime)
    return sa.func.clock_timestamp(type_=UtcDateTime) + sa.literal(later, sa.Interval)

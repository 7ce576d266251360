"""Leases with fencing: one worker at a time does a job, and a late one is refused.

A lease ends when its holder stops renewing it, by the database's clock. Its token is new each time
it is taken; whoever writes for the job confirms the token in the same transaction, so a worker that
was away too long cannot overwrite what its successor did.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import leases
from loopwright_common.database.dialect import UtcDateTime, in_values
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
    if not await confirmed(uow, [lease]):
        raise LeaseLostError(f"{lease.name} is in other hands now")


async def confirmed(uow: UnitOfWork, held: Sequence[Lease]) -> frozenset[Lease]:
    """Those that are current; nobody else takes one of them before this commits."""
    return frozenset((await _locked(uow, held)).values())


async def renew(uow: UnitOfWork, lease: Lease, length: timedelta = LEASE) -> None:
    """LeaseLostError when another has taken it meanwhile."""
    if lease not in await renew_all(uow, [lease], length):
        raise LeaseLostError(f"{lease.name} is in other hands now")


async def renew_all(
    uow: UnitOfWork, held: Sequence[Lease], length: timedelta = LEASE
) -> frozenset[Lease]:
    """Those that could be renewed: all that nobody else has taken meanwhile."""
    by_token = await _locked(uow, held)
    if by_token:
        mine = in_values(uow.connection, leases.c.token, list(by_token))
        until = _database_time(uow.connection, length)
        await uow.connection.execute(sa.update(leases).where(mine).values(until=until))
    return frozenset(by_token.values())


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


class LeaseKeeper:
    """Keeps leases of one length while work is done under them, and renews all of them together."""

    def __init__(self, database: Database, length: timedelta = LEASE) -> None:
        self._database = database
        self._length = length
        self._kept: dict[Lease, asyncio.Timeout] = {}
        self._renewing: asyncio.Task[None] | None = None

    @property
    def kept(self) -> frozenset[Lease]:
        """Those under which there is work now."""
        return frozenset(self._kept)

    @asynccontextmanager
    async def keep(self, lease: Lease) -> AsyncGenerator[None, None]:
        """Renew the lease while the body runs, and release it at the end.

        LeaseLostError interrupts the body once the lease is lost, or could not be renewed in time.
        """
        limit = asyncio.timeout(self._length.total_seconds())
        try:
            async with limit:
                self._kept[lease] = limit
                if self._renewing is None:
                    self._renewing = asyncio.create_task(self._keep_renewing())
                try:
                    yield
                finally:
                    await self._let_go(lease)
        except TimeoutError:
            if not limit.expired():
                raise
            raise LeaseLostError(f"{lease.name} could not be kept") from None
        finally:
            with suppress(UnavailableError):
                async with self._database.unit_of_work() as uow:
                    await release(uow, lease)

    async def _let_go(self, lease: Lease) -> None:
        del self._kept[lease]
        if not self._kept and self._renewing is not None:
            renewing, self._renewing = self._renewing, None
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _keep_renewing(self) -> None:
        loop, length = asyncio.get_running_loop(), self._length.total_seconds()
        while True:
            await asyncio.sleep(length / 4)
            mine, ends = list(self._kept), loop.time() + length
            try:
                async with self._database.unit_of_work() as uow:
                    renewed = await renew_all(uow, mine, self._length)
            except UnavailableError as error:
                log.warning("lease.not-renewed", leases=len(mine), error=str(error))
                continue
            for lease in mine:
                limit = self._kept.get(lease)
                if limit is not None and not limit.expired():
                    limit.reschedule(ends if lease in renewed else loop.time())


def keep_renewed(
    database: Database, lease: Lease, length: timedelta = LEASE
) -> AbstractAsyncContextManager[None]:
    """As `LeaseKeeper.keep`, of a lease by itself."""
    return LeaseKeeper(database, length).keep(lease)


async def _locked(uow: UnitOfWork, held: Sequence[Lease]) -> dict[str, Lease]:
    """The current ones by their tokens, until this commits.

    In the order of their names, so that two that lock several do not wait for each other.
    """
    names = in_values(uow.connection, leases.c.name, [lease.name for lease in held])
    query = sa.select(leases.c.name, leases.c.token).where(names).order_by(leases.c.name)
    rows = (await uow.connection.execute(query.with_for_update())).all()
    current = {(row.name, row.token) for row in rows}
    return {lease.token: lease for lease in held if (lease.name, lease.token) in current}


def _database_time(
    connection: AsyncConnection, later: timedelta = timedelta()
) -> sa.ColumnElement[datetime]:
    """`later` from now by the database's clock; SQLite's one process has one clock anyway."""
    if connection.dialect.name == "sqlite":
        return sa.literal(clock.now() + later, UtcDateTime)
    return sa.func.clock_timestamp(type_=UtcDateTime) + sa.literal(later, sa.Interval)

"""Leases in tests of several processes on one PostgreSQL.

Their length is generous, since a process on a busy machine may not get to renew one for seconds.
Instead of waiting until a dead or sleeping holder's lease has ended, a test lets it end.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import leases
from loopwright_common.errors import UnavailableError

LEASE_SECONDS = 30
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def expire_leases(database: Database) -> None:
    """All leases end now, as if nobody had renewed them; one whose holder lives is renewed.

    Sleepers that stand in line for a lease have it for five seconds each (`for_sleepers`).
    """
    async with asyncio.timeout(240):
        while True:
            with suppress(UnavailableError):
                async with database.unit_of_work() as uow:
                    await uow.connection.execute(sa.update(leases).values(until=_LONG_AGO))
                return


def for_sleepers(database_url: str) -> str:
    """The URL for processes that are put to sleep, also amid a transaction.

    The server takes its locks from a session that is idle in one for five seconds; a busy machine
    keeps nobody that long from its next statement.
    """
    limit = {"idle_in_transaction_session_timeout": "5s"}
    return make_url(database_url).update_query_dict(limit).render_as_string(False)

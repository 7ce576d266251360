"""SQLite and PostgreSQL behind one transaction: the unit of work, delivery tables, leases."""

from loopwright_common.database import leases
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import (
    BigId,
    dead_letters,
    inbox,
    outbox,
    parked,
    positions,
)
from loopwright_common.database.dialect import UtcDateTime, in_values, upsert, upsert_all
from loopwright_common.database.sqlite import create_thread_engine
from loopwright_common.database.unit_of_work import Cause, UnitOfWork

__all__ = [
    "BigId",
    "Cause",
    "Database",
    "UnitOfWork",
    "UtcDateTime",
    "create_thread_engine",
    "dead_letters",
    "in_values",
    "inbox",
    "leases",
    "outbox",
    "parked",
    "positions",
    "upsert",
    "upsert_all",
]

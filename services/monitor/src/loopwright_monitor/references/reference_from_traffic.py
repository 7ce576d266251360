"""References made of production rows: a stream's first rows, where no dataset tells what to expect.

Handlers only collect; a worker makes the reference, and the rows that came before it was there wait
beside it until the stream's next batch, so that what is found depends on the rows alone.
"""

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from loopwright_common.database import Database, UnitOfWork
from loopwright_common.database.leases import Lease, confirm
from loopwright_common.failpoints import failpoint
from loopwright_common.storage.captured_tables import conflicting_columns
from loopwright_monitor.detectors.profile import Profile
from loopwright_monitor.references.builder import build_reference
from loopwright_monitor.references.state_repository import (
    CollectedRows,
    DetectorStates,
    FirstRows,
    Profiles,
    StoredState,
)
from loopwright_monitor.store import exclusive_jobs, locks
from loopwright_monitor.watched.streams import INPUTS, WatchedStream
from loopwright_monitor.watched.version_repository import WatchedVersion, WatchedVersions

REFERENCE_ROWS = 2048
"""Live rows that make a reference."""


async def collect(uow: UnitOfWork, stream: WatchedStream, rows: pa.Table) -> bool:
    """Keep the rows; returns whether there are enough for a reference now."""
    body = CollectedRows(stream.model.rows, rows.num_rows, _to_ipc(rows))
    return await FirstRows(uow.connection, *stream.key).add(body) >= REFERENCE_ROWS


async def pop_waiting(uow: UnitOfWork, stream: WatchedStream) -> list[tuple[int, pa.Table]]:
    """Rows that came before their stream's reference was there, oldest first; they wait no more.

    Each table is beside the count of the model's rows before it.
    """
    waiting = await FirstRows(uow.connection, *stream.key).pop_all()
    return [(each.start, _from_ipc(each.body)) for each in waiting]


async def build_collected(database: Database) -> None:
    """Make a reference for every stream that has collected enough rows and has none yet.

    UnavailableError while the database is away.
    """
    async with database.read() as connection:
        keys = await FirstRows.enough(connection, REFERENCE_ROWS)
    for key in keys:
        name = "/".join(str(part) for part in ("first-rows", *key))
        await exclusive_jobs.run_exclusively(database, name, partial(_build, database, key))


@dataclass(frozen=True, slots=True)
class _Made:
    """A reference, and the model's rows before the first row that is compared with it."""

    profile: Profile
    origin: int


async def _build(database: Database, key: tuple[str, int, str], lease: Lease) -> None:
    model_id, number, name = key
    async with database.read() as connection:
        known = await WatchedVersions(connection).get(model_id, number)
        first = await _first_enough(FirstRows(connection, *key))
    if first is None:
        return
    # Rows may come before the registration of their version is heard of.
    version = known or WatchedVersion(model_id=model_id, model="", version=number)
    made = await asyncio.to_thread(_made, version, first)
    failpoint("monitor.first-rows")
    async with database.unit_of_work() as uow:
        await confirm(uow, lease)
        await uow.lock(locks.detecting(model_id))
        rows = FirstRows(uow.connection, *key)
        if await _first_enough(rows) != first:
            return
        left = _joined(await rows.pop_all()).slice(REFERENCE_ROWS)
        if left.num_rows:
            await rows.add(CollectedRows(made.origin, left.num_rows, _to_ipc(left)))
        await _start(uow, version, name, made)


async def _first_enough(rows: FirstRows) -> list[CollectedRows] | None:
    """The bodies that hold the stream's first `REFERENCE_ROWS` rows.

    None where a reference is made of none of them any more: since the stream was found to have
    enough, another champion took over, which lets its rows go, or another monitor was faster.
    """
    if not await rows.are_enough(REFERENCE_ROWS):
        return None
    first: list[CollectedRows] = []
    for body in await rows.all():
        first.append(body)
        if sum(each.rows for each in first) >= REFERENCE_ROWS:
            return first
    return None


async def _start(uow: UnitOfWork, version: WatchedVersion, name: str, made: _Made) -> None:
    """The stream is compared with its reference from here on."""
    profile = made.profile
    await Profiles(uow.connection).add(profile.digest, profile.to_json())
    key = (version.model_id, version.version, name)
    await DetectorStates(uow.connection).save(*key, StoredState(profile.digest, b""))
    if name == INPUTS:
        why = version.why_ready(profile.source)
        await WatchedVersions(uow.connection).set_profile(version, "ready", why, profile.digest)


def _made(version: WatchedVersion, bodies: list[CollectedRows]) -> _Made:
    rows = _joined(bodies).slice(0, REFERENCE_ROWS)
    names = [name for name in rows.column_names if name != "time"]
    source = f"the first {rows.num_rows:,} live rows of version {version.version}"
    return _Made(build_reference(rows, names, version.strictness, source), _origin(bodies))


def _origin(bodies: list[CollectedRows]) -> int:
    """Where in the model's rows the first row after the reference stands."""
    before = 0
    for body in bodies:
        if before + body.rows >= REFERENCE_ROWS:
            return body.start + REFERENCE_ROWS - before
        before += body.rows
    return 0


def _joined(bodies: Sequence[CollectedRows]) -> pa.Table:
    """The rows of at least one body; a column whose types do not go together becomes text."""
    tables = [_from_ipc(body.body) for body in bodies]
    mixed = conflicting_columns([table.schema for table in tables]).keys()
    tables = [_with_text(table, mixed) for table in tables]
    return pa.concat_tables(tables, promote_options="permissive")


def _with_text(table: pa.Table, names: Set[str]) -> pa.Table:
    for name in names & set(table.column_names):
        text = pa.array(
            [None if v is None else str(v) for v in table[name].to_pylist()], pa.string()
        )
        table = table.set_column(table.column_names.index(name), name, text)
    return table


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_ipc(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()

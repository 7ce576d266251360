"""References made of production rows: a stream's first rows, where no dataset tells what to expect.

Handlers only collect; a worker makes the reference, and the rows that came meanwhile wait beside
it until the stream's next batch, so that what is found depends on the rows alone.
"""

import asyncio
from dataclasses import dataclass

import pyarrow as pa

from loopwright_common.database import Database
from loopwright_common.failpoints import failpoint
from loopwright_common.unit_of_work import UnitOfWork
from loopwright_monitor.drift.bets import lay_bets
from loopwright_monitor.drift.detector import Detector
from loopwright_monitor.drift.profile import Profile
from loopwright_monitor.drift.reference import build_reference
from loopwright_monitor.drift.repository import Version, Versions
from loopwright_monitor.drift.state_repository import Body, Detectors, FirstRows, Profiles
from loopwright_monitor.drift.streams import INPUTS, Stream

ENOUGH = 2048
"""Live rows that make a reference."""


async def collect(uow: UnitOfWork, stream: Stream, rows: pa.Table) -> bool:
    """Keep the rows; returns whether there are enough for a reference now."""
    body = Body(stream.model.rows, rows.num_rows, _to_ipc(rows))
    return await FirstRows(uow.connection, *stream.place).add(body) >= ENOUGH


async def rows_that_waited(uow: UnitOfWork, stream: Stream, rows: pa.Table) -> pa.Table:
    """The rows behind those that came while the reference was made."""
    bodies = await FirstRows(uow.connection, *stream.place).take()
    return _joined(bodies, [rows]) if bodies else rows


async def build_collected(database: Database) -> None:
    """Make a reference for every stream that has collected enough rows and has none yet."""
    async with database.read() as connection:
        places = await FirstRows.enough(connection, ENOUGH)
    for place in places:
        await _build(database, place)


@dataclass(frozen=True, slots=True)
class _Made:
    """A reference, and the model's rows before the first row that is compared with it."""

    profile: Profile
    origin: int


async def _build(database: Database, place: tuple[str, int, str]) -> None:
    model_id, number, name = place
    async with database.read() as connection:
        found = await Versions(connection).get(model_id, number)
        bodies = await FirstRows(connection, *place).all()
    # Rows may come before the registration of their version is heard of.
    version = found or Version(model_id=model_id, model="", version=number)
    made = await asyncio.to_thread(_made, version, bodies)
    failpoint("monitor.first-rows")
    async with database.unit_of_work() as uow:
        rows = FirstRows(uow.connection, *place)
        collected = await rows.take()
        if sum(body.rows for body in collected) < ENOUGH:
            return  # another champion took over meanwhile
        left = _joined(collected).slice(ENOUGH)
        if left.num_rows:
            await rows.add(Body(made.origin, left.num_rows, _to_ipc(left)))
        await _start(uow, version, name, made)


async def _start(uow: UnitOfWork, version: Version, name: str, made: _Made) -> None:
    """The stream is compared with its reference from here on."""
    profile = made.profile
    await Profiles(uow.connection).add(profile.digest, profile.to_json())
    detector = Detector(lay_bets(profile), origin=made.origin)
    place = (version.model_id, version.version, name)
    await Detectors(uow.connection).save(*place, (profile.digest, detector.to_bytes()))
    if name == INPUTS:
        why = version.why_ready(profile.source)
        await Versions(uow.connection).set_profile(version, "ready", why, profile.digest)


def _made(version: Version, bodies: list[Body]) -> _Made:
    rows = _joined(bodies).slice(0, ENOUGH)
    names = [name for name in rows.column_names if name != "time"]
    source = f"the first {rows.num_rows:,} live rows of version {version.version}"
    return _Made(build_reference(rows, names, version.strictness, source), _origin(bodies))


def _origin(bodies: list[Body]) -> int:
    """Where in the model's rows the first row after the reference stands."""
    before = 0
    for body in bodies:
        if before + body.rows >= ENOUGH:
            return body.start + ENOUGH - before
        before += body.rows
    return 0


def _joined(bodies: list[Body], more: list[pa.Table] | None = None) -> pa.Table:
    tables = [_from_ipc(body.body) for body in bodies]
    return pa.concat_tables([*tables, *(more or [])], promote_options="permissive")


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_ipc(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()

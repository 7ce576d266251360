"""Watch the stream: learn each batch, and tell where a detector raises an alarm."""

from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.cloudevents.inference_logged import SCORE, InferenceLogged
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import NotFoundError
from loopwright_monitor.detectors.betting import Bets, lay_bets
from loopwright_monitor.detectors.e_detector import Alarm, Detector
from loopwright_monitor.detectors.profile import Profile
from loopwright_monitor.drift.drift_reporter import tell
from loopwright_monitor.drift.gap_tracker import Arrivals
from loopwright_monitor.references import reference_from_traffic
from loopwright_monitor.references.state_repository import Detectors, Profiles
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import Model, Models, Version, Versions
from loopwright_monitor.watched.streams import (
    INPUTS,
    SCORES,
    Stream,
    inputs_of,
    live_rows,
    scores_of,
)


@dataclass(slots=True)
class Learnt:
    """What a batch led to: alarms told, and streams that can be given a reference."""

    alarms: int = 0
    collected: int = 0


async def watch(uow: UnitOfWork, batch: InferenceLogged) -> Learnt:
    """Learn a batch's live rows, and notice the batches that are missing before it."""
    learnt = Learnt()
    await uow.lock(locks.detecting(batch.model_id))
    models = Models(uow.connection)
    model = await models.ensure(batch.model_id, batch.model)
    await Arrivals(uow.connection).note(batch)
    rows = live_rows(batch.table)
    if rows.num_rows == 0:
        return learnt
    numbers = set(pc.unique(rows["version"]).to_pylist())
    champion = set() if model.champion is None else {model.champion}
    known = {number: await _version(uow, model, number) for number in sorted(numbers | champion)}
    if model.champion is not None:
        stream = Stream(model, known[model.champion], INPUTS, frozenset(batch.redacted))
        await _learn(uow, stream, inputs_of(rows), learnt)
    if SCORE in rows.column_names:
        for number in sorted(numbers):
            stream = Stream(model, known[number], SCORES)
            await _learn(uow, stream, scores_of(rows, number), learnt)
    await models.count_seen(model.model_id, rows=rows.num_rows)
    return learnt


async def _version(uow: UnitOfWork, model: Model, number: int) -> Version:
    """The version, known or not: rows may come before its registration is heard of."""
    found = await Versions(uow.connection).get(model.model_id, number)
    return found or Version(model_id=model.model_id, model=model.model, version=number)


async def _learn(uow: UnitOfWork, stream: Stream, rows: pa.Table, learnt: Learnt) -> None:
    """Update the stream's detector, or collect rows for its reference."""
    detector = await _detector(uow.connection, stream)
    if detector is None:
        learnt.collected += await reference_from_traffic.collect(uow, stream, rows)
        return
    tables = [rows]
    if detector.rows == 0:
        waited = await reference_from_traffic.take_waiting(uow, stream)
        tables = [*waited.tables, rows]
        detector.origin = waited.start(detector.origin)
    alarms = [alarm for table in tables for alarm in _update(detector, table, stream)]
    for alarm in alarms:
        await tell(uow, stream, detector, alarm)
    state = (detector.bets.digest, detector.to_bytes())
    await Detectors(uow.connection).save(*stream.place, state)
    learnt.alarms += len(alarms)


def _update(detector: Detector, rows: pa.Table, stream: Stream) -> list[Alarm]:
    times = rows["time"].cast(pa.int64()).to_numpy()
    return detector.update(rows, times, stream.untold)


async def _detector(connection: AsyncConnection, stream: Stream) -> Detector | None:
    """As it was left, or new where the reference is there already; None without one."""
    stored = await Detectors(connection).load(*stream.place)
    if stored is not None:
        return Detector.from_bytes(await _bets(connection, stored[0]), stored[1])
    if stream.name == INPUTS and stream.version.profile is not None:
        bets = await _bets(connection, stream.version.profile)
        return Detector(bets, origin=stream.model.rows)
    return None


_laid: OrderedDict[str, Bets] = OrderedDict()
_MOST_LAID = 64


async def _bets(connection: AsyncConnection, digest: str) -> Bets:
    """The bets of a stored profile; a digest always means the same, so they are kept at hand."""
    if digest not in _laid:
        body = await Profiles(connection).get(digest)
        if body is None:
            raise NotFoundError(f"no profile {digest}")
        _laid[digest] = lay_bets(Profile.from_json(body))
        while len(_laid) > _MOST_LAID:
            _laid.popitem(last=False)
    return _laid[digest]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the inputs of a version are compared with, and where the comparison stands."""

    profile: Profile
    detector: Detector | None


async def watched(connection: AsyncConnection, version: Version) -> Watched | None:
    """None while the version has no profile."""
    body = await Profiles(connection).get(version.profile) if version.profile else None
    if body is None:
        return None
    return Watched(Profile.from_json(body), await champion_detector(connection, version))


async def champion_detector(connection: AsyncConnection, version: Version) -> Detector | None:
    """Where the inputs of a version stand; None before their first row."""
    stored = await Detectors(connection).load(version.model_id, version.version, INPUTS)
    if stored is None:
        return None
    return Detector.from_bytes(await _bets(connection, stored[0]), stored[1])

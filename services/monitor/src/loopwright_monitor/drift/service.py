"""Watch the stream: learn each batch, and tell where a detector raises an alarm."""

from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.cloudevents.inference_logged import SCORE, InferenceLogged
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import NotFoundError
from loopwright_monitor.detectors.betting import Bets, build_bets
from loopwright_monitor.detectors.e_process import EvidenceProcess, ThresholdCrossing
from loopwright_monitor.detectors.profile import Profile
from loopwright_monitor.drift.drift_reporter import report_drift
from loopwright_monitor.drift.gap_tracker import GapTracker
from loopwright_monitor.references import reference_from_traffic
from loopwright_monitor.references.state_repository import DetectorStates, Profiles
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import (
    WatchedModel,
    WatchedModels,
    WatchedVersion,
    WatchedVersions,
)
from loopwright_monitor.watched.streams import (
    INPUTS,
    SCORES,
    WatchedStream,
    inputs_of,
    live_rows,
    scores_of,
)


@dataclass(slots=True)
class BatchOutcome:
    """What a batch led to: alarms told, and streams that can be given a reference."""

    alarms: int = 0
    collected: int = 0


async def learn_batch(uow: UnitOfWork, batch: InferenceLogged) -> BatchOutcome:
    """Learn a batch's live rows, and notice the batches that are missing before it."""
    learnt = BatchOutcome()
    await uow.lock(locks.detecting(batch.model_id))
    models = WatchedModels(uow.connection)
    model = await models.ensure(batch.model_id, batch.model)
    await GapTracker(uow.connection).record_batch(batch)
    rows = live_rows(batch.table)
    if rows.num_rows == 0:
        return learnt
    numbers = set(pc.unique(rows["version"]).to_pylist())
    champion = set() if model.champion is None else {model.champion}
    known = {number: await _version(uow, model, number) for number in sorted(numbers | champion)}
    if model.champion is not None:
        stream = WatchedStream(model, known[model.champion], INPUTS, frozenset(batch.redacted))
        await _learn(uow, stream, inputs_of(rows), learnt)
    if SCORE in rows.column_names:
        for number in sorted(numbers):
            stream = WatchedStream(model, known[number], SCORES)
            await _learn(uow, stream, scores_of(rows, number), learnt)
    await models.count_seen(model.model_id, rows=rows.num_rows)
    return learnt


async def _version(uow: UnitOfWork, model: WatchedModel, number: int) -> WatchedVersion:
    """The version, known or not: rows may come before its registration is heard of."""
    found = await WatchedVersions(uow.connection).get(model.model_id, number)
    return found or WatchedVersion(model_id=model.model_id, model=model.model, version=number)


async def _learn(
    uow: UnitOfWork, stream: WatchedStream, rows: pa.Table, learnt: BatchOutcome
) -> None:
    """Update the stream's detector, or collect rows for its reference."""
    detector = await _detector(uow.connection, stream)
    if detector is None:
        learnt.collected += await reference_from_traffic.collect(uow, stream, rows)
        return
    tables = [rows]
    if detector.rows == 0:
        waited = await reference_from_traffic.pop_waiting(uow, stream)
        tables = [*waited.tables, rows]
        detector.origin = waited.start(detector.origin)
    alarms = [alarm for table in tables for alarm in _update(detector, table, stream)]
    for alarm in alarms:
        await report_drift(uow, stream, detector, alarm)
    state = (detector.bets.digest, detector.to_bytes())
    await DetectorStates(uow.connection).save(*stream.key, state)
    learnt.alarms += len(alarms)


def _update(
    detector: EvidenceProcess, rows: pa.Table, stream: WatchedStream
) -> list[ThresholdCrossing]:
    times = rows["time"].cast(pa.int64()).to_numpy()
    return detector.update(rows, times, stream.left_out)


async def _detector(connection: AsyncConnection, stream: WatchedStream) -> EvidenceProcess | None:
    """As it was left, or new where the reference is there already; None without one."""
    stored = await DetectorStates(connection).load(*stream.key)
    if stored is not None:
        return EvidenceProcess.from_bytes(await _bets(connection, stored[0]), stored[1])
    if stream.name == INPUTS and stream.version.profile is not None:
        bets = await _bets(connection, stream.version.profile)
        return EvidenceProcess(bets, origin=stream.model.rows)
    return None


_laid: OrderedDict[str, Bets] = OrderedDict()
_MOST_LAID = 64


async def _bets(connection: AsyncConnection, digest: str) -> Bets:
    """The bets of a stored profile; a digest always means the same, so they are kept at hand."""
    if digest not in _laid:
        body = await Profiles(connection).get(digest)
        if body is None:
            raise NotFoundError(f"no profile {digest}")
        _laid[digest] = build_bets(Profile.from_json(body))
        while len(_laid) > _MOST_LAID:
            _laid.popitem(last=False)
    return _laid[digest]


@dataclass(frozen=True, slots=True)
class ReferenceComparison:
    """What the inputs of a version are compared with, and where the comparison stands."""

    profile: Profile
    detector: EvidenceProcess | None


async def compare_with_reference(
    connection: AsyncConnection, version: WatchedVersion
) -> ReferenceComparison | None:
    """None while the version has no profile."""
    body = await Profiles(connection).get(version.profile) if version.profile else None
    if body is None:
        return None
    return ReferenceComparison(
        Profile.from_json(body), await champion_detector(connection, version)
    )


async def champion_detector(
    connection: AsyncConnection, version: WatchedVersion
) -> EvidenceProcess | None:
    """Where the inputs of a version stand; None before their first row."""
    stored = await DetectorStates(connection).load(version.model_id, version.version, INPUTS)
    if stored is None:
        return None
    return EvidenceProcess.from_bytes(await _bets(connection, stored[0]), stored[1])

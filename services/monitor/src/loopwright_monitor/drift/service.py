"""Learn each batch of logged rows, and report where a detector raises an alarm."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from loopwright_common.cloudevents import SCORE, InferenceLogged
from loopwright_common.database import UnitOfWork
from loopwright_monitor.detectors.base import Batch
from loopwright_monitor.detectors.registry import DETECTORS
from loopwright_monitor.drift.drift_reporter import report_drift
from loopwright_monitor.drift.gap_tracker import GapTracker
from loopwright_monitor.references import reference_from_traffic
from loopwright_monitor.references.state_repository import (
    DetectorStates,
    StoredState,
    load_reference,
)
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModel, WatchedModels
from loopwright_monitor.watched.streams import (
    INPUTS,
    SCORES,
    WatchedStream,
    inputs_of,
    live_rows,
    scores_of,
)
from loopwright_monitor.watched.version_repository import WatchedVersion, WatchedVersions


@dataclass(slots=True)
class BatchOutcome:
    """What a batch led to: alarms reported, and streams that can be given a reference."""

    alarms: int = 0
    collected: int = 0


async def learn_batch(uow: UnitOfWork, batch: InferenceLogged) -> BatchOutcome:
    """Learn a batch's live rows, and notice the batches that are missing before it.

    NotFoundError where the profile that a stream is compared with is not stored.
    """
    outcome = BatchOutcome()
    await uow.lock(locks.detecting(batch.model_id))
    models = WatchedModels(uow.connection)
    model = await models.ensure(batch.model_id, batch.model)
    await GapTracker(uow.connection).record_batch(batch)
    rows = live_rows(batch.table)
    if rows.num_rows == 0:
        return outcome
    numbers = set(pc.unique(rows["version"]).to_pylist())
    champion = set() if model.champion is None else {model.champion}
    known = {number: await _version(uow, model, number) for number in sorted(numbers | champion)}
    if model.champion is not None:
        stream = WatchedStream(model, known[model.champion], INPUTS, frozenset(batch.redacted))
        await _learn_or_collect(uow, stream, inputs_of(rows), outcome)
    if SCORE in rows.column_names:
        for number in sorted(numbers):
            stream = WatchedStream(model, known[number], SCORES)
            await _learn_or_collect(uow, stream, scores_of(rows, number), outcome)
    await models.count_seen(model.model_id, rows=rows.num_rows)
    return outcome


async def _version(uow: UnitOfWork, model: WatchedModel, number: int) -> WatchedVersion:
    """The version, known or not: rows may come before its registration is heard of."""
    known = await WatchedVersions(uow.connection).get(model.model_id, number)
    return known or WatchedVersion(model_id=model.model_id, model=model.model, version=number)


async def _learn_or_collect(
    uow: UnitOfWork, stream: WatchedStream, rows: pa.Table, outcome: BatchOutcome
) -> None:
    """Learn the rows, compared with the stream's reference; without one collect them for it."""
    stored = await DetectorStates(uow.connection).load(*stream.key)
    digest = stored.profile if stored else stream.reference
    compared: list[Batch] = []
    if digest is None:
        outcome.collected += await reference_from_traffic.collect(uow, stream, rows)
    else:
        reference = await load_reference(uow.connection, digest)
        begun = stored is not None and stored.state != b""
        collected = [] if begun else await reference_from_traffic.pop_waiting(uow, stream)
        compared = [
            Batch(table, start, stream.left_out, reference)
            for start, table in [*collected, (stream.model.rows, rows)]
        ]
    outcome.alarms += await learn_stream(uow, stream, rows, compared)


async def learn_stream(
    uow: UnitOfWork, stream: WatchedStream, rows: pa.Table, compared: Sequence[Batch] = ()
) -> int:
    """Let each detector of the stream learn the rows; returns how many alarms were reported.

    Those that need a reference learn the batches `compared` with it instead.
    """
    alarms = 0
    plain = [Batch(rows, stream.model.rows, stream.left_out)]
    for name, detector in DETECTORS.items():
        if detector.stream == stream.name:
            batches = compared if detector.needs_reference else plain
            alarms += await _update(uow, stream, name, batches)
    return alarms


async def _update(
    uow: UnitOfWork, stream: WatchedStream, name: str, batches: Sequence[Batch]
) -> int:
    alarms = 0
    version = stream.version
    states = DetectorStates(uow.connection)
    stored = await states.load(version.model_id, version.version, name) if batches else None
    state = stored.state if stored else None
    for batch in batches:
        update = DETECTORS[name].update(state or None, batch)
        state = update.state
        digest = batch.reference.digest if batch.reference else ""
        stored = StoredState(digest, update.state)
        alarms += len(update.alarms)
        for alarm in update.alarms:
            await report_drift(uow, stream, name, alarm)
    if stored is not None:
        await states.save(version.model_id, version.version, name, stored)
    return alarms

"""Record what was kept, and join the labels that come."""

import json
from collections.abc import Iterable, Sequence

from loopwright_common.cloudevents import InferenceLogged
from loopwright_common.database import UnitOfWork
from loopwright_common.errors import UndecodableError
from loopwright_common.events import Event, GroundTruthLogged, PerformanceMeasured
from loopwright_monitor.captures import canary_labels, newest_rows
from loopwright_monitor.captures.capture_writer import CapturedBatch
from loopwright_monitor.captures.label_repository import (
    Labels,
    PredictionRecord,
    PredictionRecords,
    ReportedLabel,
    can_be_found,
)
from loopwright_monitor.captures.performance import LOSS_NAMES, LabelledScore, Performance
from loopwright_monitor.captures.repository import CaptureFile, CaptureFiles, Performances
from loopwright_monitor.drift import loss_stream
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersions

MEASURED_EVERY = 500


async def record_capture(
    event: Event[InferenceLogged], kept: CapturedBatch | None, uow: UnitOfWork
) -> None:
    """Add the file to the model's rows, and join labels that came before them."""
    if kept is None:
        return
    batch, rows = event.data, kept.rows
    await uow.lock(locks.capturing(batch.model_id))
    models = WatchedModels(uow.connection)
    known = await models.ensure(batch.model_id, batch.model)
    times = [row.time for row in rows]
    source = f"{batch.replica}/{batch.epoch}/{batch.sequence}"
    capture = CaptureFile(kept.digest, len(rows), min(times), max(times), source)
    await CaptureFiles(uow.connection, batch.model_id).add(capture)
    await PredictionRecords(uow.connection, batch.model_id).add(rows)
    await models.count_kept(batch.model_id, captured=len(rows))
    captured = known.captured + len(rows)
    if newest_rows.is_telling_point(known.captured, captured):
        names = (batch.model_id, batch.model)
        await newest_rows.tell_newest(uow, *names, captured, capture.last)
    waiting = Labels(uow.connection, batch.model_id)
    early = await waiting.join_waiting("prediction", (row.prediction_id for row in rows))
    early += await waiting.join_waiting(
        "request", (row.request_id for row in rows if row.request_id)
    )
    if early:
        await _join(uow, batch.model_id, batch.model, early)


async def record_labels(event: Event[GroundTruthLogged], uow: UnitOfWork) -> None:
    """Keep the labels, join those whose rows are known and measure the versions they concern.

    UndecodableError where ids and labels are not as many, or an id is longer than any given.
    """
    data = event.data
    if len(data.ids) != len(data.labels):
        raise UndecodableError(
            f"{data.topic}: {len(data.ids)} ids, {len(data.labels)} labels; give one for each id"
        )
    if wrong := next((each for each in data.ids if not can_be_found(each)), None):
        raise UndecodableError(f"{data.topic}: ids: {wrong[:64]!r} is longer than any id given")
    reported = [
        ReportedLabel(each, data.id_kind, None if value is None else json.dumps(value), data.at)
        for each, value in zip(data.ids, data.labels, strict=True)
    ]
    await uow.lock(locks.capturing(data.model_id))
    await WatchedModels(uow.connection).ensure(data.model_id, data.model)
    joined = await _join(uow, data.model_id, data.model, reported)
    await Labels(uow.connection, data.model_id).add(reported, joined)


async def _join(
    uow: UnitOfWork, model_id: str, model: str, reported: Sequence[ReportedLabel]
) -> set[str]:
    """Write the labels to their rows; returns the ids that have rows."""
    scores = PredictionRecords(uow.connection, model_id)
    joined: set[str] = set()
    for kind in ("prediction", "request"):
        mine = [each for each in reported if each.kind == kind]
        if not mine:
            continue
        rows = await scores.of(kind, (each.id for each in mine))
        joined |= {_id(row, kind) for row in rows}
        changes = _changes(kind, mine, rows)
        await scores.label([after for _, after in changes])
        await _measure(uow, model_id, model, changes)
    return joined


def _id(row: PredictionRecord, kind: str) -> str:
    return row.prediction_id if kind == "prediction" else row.request_id or ""


def _changes(
    kind: str, reported: Sequence[ReportedLabel], rows: Sequence[PredictionRecord]
) -> list[tuple[PredictionRecord, PredictionRecord]]:
    """Rows before and after their newest label, in the order in which they were scored."""
    newest: dict[str, ReportedLabel] = {}
    for each in reported:
        if each.id not in newest or each.at >= newest[each.id].at:
            newest[each.id] = each
    changed = []
    for row in rows:
        word = newest[_id(row, kind)]
        if row.label_at is None or word.at >= row.label_at:
            changed.append((row, row.labelled(word.label, word.at)))
    return sorted(changed, key=lambda pair: (pair[0].time, pair[0].prediction_id))


async def _measure(
    uow: UnitOfWork,
    model_id: str,
    model: str,
    changes: Sequence[tuple[PredictionRecord, PredictionRecord]],
) -> None:
    if not changes:
        return
    gained = sum((now.label is not None) - (before.label is not None) for before, now in changes)
    await WatchedModels(uow.connection).count_kept(model_id, labelled=gained)
    await canary_labels.mark_labelled(uow, model_id, [now for _, now in changes])
    performances = Performances(uow.connection, model_id)
    for version in sorted({before.version for before, _ in changes}):
        mine = [pair for pair in changes if pair[0].version == version]
        positive = await _positive(uow, model_id, version)
        old = await performances.get(version, mine[0][0].task)
        now = old.plus(_scored(before for before, _ in mine), positive, -1)
        now = now.plus(_scored(after for _, after in mine), positive)
        await performances.save(version, now)
        fresh = _scored(after for before, after in mine if before.label is None)
        name = LOSS_NAMES[now.task]
        await loss_stream.learn_losses(uow, model_id, version, name, now.losses(fresh, positive))
        if _is_reporting_point(old.labelled, now.labelled):
            await _report(uow, model_id, model, version, now)


async def _positive(uow: UnitOfWork, model_id: str, version: int) -> str | None:
    """The class whose probability the score of a binary version is, where its data told."""
    known = await WatchedVersions(uow.connection).get(model_id, version)
    classes = known.classes if known else None
    return classes[-1] if classes and len(classes) == 2 else None


def _scored(rows: Iterable[PredictionRecord]) -> list[LabelledScore]:
    return [
        LabelledScore(row.score, row.predicted, row.label)
        for row in rows
        if row.label is not None and row.score is not None
    ]


def _is_reporting_point(before: int, now: int) -> bool:
    """Each time a count of labels is reached, so that replays tell the same."""
    return now // MEASURED_EVERY > before // MEASURED_EVERY or before < 100 <= now


async def _report(
    uow: UnitOfWork, model_id: str, model: str, version: int, now: Performance
) -> None:
    data = PerformanceMeasured(
        model_id=model_id,
        model=model,
        version=version,
        labelled=now.labelled,
        log_loss=now.log_loss,
        brier=now.brier,
        mean_label=now.mean(now.label_sum),
        mean_score=now.mean(now.score_sum),
        loss_sum=now.loss_sum,
    )
    await uow.emit(data, key=model_id, subject=f"models/{model}/versions/{version}")

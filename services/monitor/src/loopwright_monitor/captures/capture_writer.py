"""A logged batch as it is captured: a capture file, and the scores that labels are joined to."""

import asyncio
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from loopwright_common.cloudevents import INPUT, OUTPUT, SCORE, InferenceLogged
from loopwright_common.errors import UnavailableError
from loopwright_common.events import Event
from loopwright_common.failpoints import failpoint
from loopwright_common.storage import ArtifactStore
from loopwright_common.storage.captured_tables import (
    ROW_COLUMNS,
    table_to_bytes,
    without_redacted,
)
from loopwright_monitor.captures.label_repository import PredictionRecord, can_be_found
from loopwright_monitor.captures.performance import Task
from loopwright_monitor.watched.streams import live_rows

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
"""Seconds between tries while the artifact store is away."""
log = structlog.get_logger()
PREDICTED = OUTPUT + "label"
PROBABILITIES = OUTPUT + "probabilities"


@dataclass(frozen=True, slots=True)
class CapturedBatch:
    """A batch's live rows, in the store under `digest`; readers see them once a row names it."""

    digest: str
    rows: list[PredictionRecord]


async def write_capture(
    store: ArtifactStore, event: Event[InferenceLogged]
) -> CapturedBatch | None:
    """Write and sync the batch's live rows; None where it has none."""
    batch = event.data
    rows = live_rows(batch.table)
    if rows.num_rows == 0:
        return None
    body, scores = await asyncio.to_thread(_captured, batch, rows)
    digest = await _put_when_available(store, body)
    failpoint("monitor.captured-file")
    return CapturedBatch(digest, scores)


async def _put_when_available(store: ArtifactStore, body: bytes) -> str:
    """The digest; while the store is away, all that is logged waits on the bus.

    Set aside one by one, it would fill the database instead.
    """
    delay = _FIRST_DELAY
    while True:
        try:
            return (await store.put(body)).digest
        except UnavailableError as error:
            log.warning("capture.paused", error=str(error))
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)


def _captured(batch: InferenceLogged, rows: pa.Table) -> tuple[bytes, list[PredictionRecord]]:
    """The rows as a capture file, and what joining labels needs of them."""
    columns = {**{name: rows[name] for name in rows.column_names}}
    columns["model"] = pa.array([batch.model] * rows.num_rows, pa.string())
    names = ROW_COLUMNS.names + [n for n in rows.column_names if n.startswith((INPUT, OUTPUT))]
    captured = pa.table({name: columns[name] for name in names})
    return table_to_bytes(without_redacted(captured, batch.redacted)), _scores(rows)


def _scores(rows: pa.Table) -> list[PredictionRecord]:
    nothing = [None] * rows.num_rows
    names = set(rows.column_names)
    score = rows[SCORE].cast(pa.float64()).to_pylist() if SCORE in names else nothing
    predicted = rows[PREDICTED].to_pylist() if PREDICTED in names else nothing
    task = _task(rows)
    columns = (
        rows["prediction_id"].to_pylist(),
        [each if each and can_be_found(each) else None for each in rows["request_id"].to_pylist()],
        rows["version"].to_pylist(),
        rows["time"].to_pylist(),
    )
    return [
        PredictionRecord(
            id_, request, version, time, value, None if label is None else json.dumps(label), task
        )
        for id_, request, version, time, value, label in zip(
            *columns, score, predicted, strict=True
        )
    ]


def _task(rows: pa.Table) -> Task:
    if PREDICTED not in rows.column_names:
        return "regression"
    if PROBABILITIES in rows.column_names:
        classes = pc.max(pc.list_value_length(rows[PROBABILITIES])).as_py() or 2
        return "binary" if classes <= 2 else "multiclass"
    return "binary"

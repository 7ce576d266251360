"""Batches of a model's rows: numbered, sealed, and how much of the stream was lost before each."""

import math
from dataclasses import dataclass

import pyarrow as pa

from loopwright_common.cloudevents import InferenceLogged, OutgoingRecord
from loopwright_common.ids import derived_id
from loopwright_scorer.new_event import new_event
from loopwright_scorer.recording.records import LoggedRows
from loopwright_scorer.routing.canary_counters import ReplicaIdentity

_LARGEST_BATCH = 900_000
"""Bytes of a batch, below the topic's largest record with room for headers."""


@dataclass(slots=True)
class RecordStream:
    """One model's batches in this epoch; the bus knows `reported` of its `dropped` rows."""

    model_id: str
    model: str
    sequence: int = 0
    dropped: int = 0
    reported: int = 0


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch with its identity, ready to send as often as it takes; it reports `dropped` rows."""

    record: OutgoingRecord
    rows: int
    stream: RecordStream
    dropped: int


def seal_batch(
    replica: ReplicaIdentity, stream: RecordStream, rows: LoggedRows, *, last: bool = False
) -> SealedBatch:
    """The next batch of the stream."""
    batch = InferenceLogged(
        model_id=stream.model_id,
        model=stream.model,
        replica=replica.name,
        epoch=replica.epoch,
        sequence=stream.sequence,
        dropped=stream.dropped,
        last=last,
        table=rows.table,
        redacted=rows.redacted,
    )
    identity = (replica.name, replica.epoch, stream.model_id, stream.sequence)
    stream.sequence += 1
    record = new_event(
        batch,
        key=stream.model_id,
        subject=f"models/{stream.model}",
        event_id=derived_id("inference-logged", *identity),
    )
    return SealedBatch(record, rows.table.num_rows, stream, batch.dropped)


def split_table(table: pa.Table, rows: int) -> list[pa.Table]:
    """Slices of at most twice `rows` rows that fit a record; a single row is never cut."""
    count = table.num_rows
    pieces = max(math.ceil(count / (2 * rows)), math.ceil(table.nbytes / _LARGEST_BATCH))
    if count <= 1 or pieces <= 1:
        return [table]
    size = math.ceil(count / pieces)
    slices = [table.slice(start, size) for start in range(0, count, size)]
    return [part for each in slices for part in split_table(each, rows)]


def fits_record(table: pa.Table) -> bool:
    return bool(table.nbytes <= _LARGEST_BATCH)

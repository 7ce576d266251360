"""Calls as they wait to be logged, and the batches' rows made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopwright_common.inference import ENVELOPE, INPUT
from loopwright_common.policy import RecordPolicy
from loopwright_scorer.columns import Digests, input_columns, is_large, names_of, output_columns
from loopwright_scorer.keeping import WHOLE, told_error
from loopwright_scorer.models import Scored
from loopwright_scorer.tensors import TensorType


@dataclass(slots=True)
class CallRecord:
    """References to what a call was given and answered; `size` is its share of the buffer.

    `micros`: when it was scored, in microseconds since 1970.
    """

    model_id: str
    model: str
    prediction_id: str
    request_id: str | None
    micros: int
    version: int
    arm: Literal["live", "shadow"]
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    scored: Scored
    size: int
    policy: RecordPolicy = WHOLE

    @property
    def rows(self) -> int:
        return self.scored.inputs.rows

    def large(self) -> list[str]:
        """Inputs that do not fit into columns, but for the redacted."""
        if len(self.inputs[0].shape) == 1:  # a signature is columns, or one tensor
            return []
        arrays = self.scored.inputs.arrays
        redacted = self.policy.redact
        return [n for n, array in arrays.items() if n not in redacted and is_large(array)]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with the same columns, in the order of their calls, without the `redacted` ones."""

    table: pa.Table
    redacted: tuple[str, ...] = ()


def no_rows() -> Rows:
    """A batch of none says that the stream has ended, or how much of it was dropped."""
    return Rows(ENVELOPE.empty_table())


def to_rows(records: Sequence[CallRecord], digests: Digests) -> list[Rows]:
    """One part per run of records with the same columns."""
    runs: list[list[CallRecord]] = []
    last: object = None
    for record in records:
        columns = _columns(record)
        if columns != last:
            runs.append([])
            last = columns
        runs[-1].append(record)
    return [_rows(run, digests) for run in runs]


def _columns(record: CallRecord) -> tuple[object, ...]:
    first = record.inputs[0]
    if len(first.shape) == 1:
        return record.inputs, record.outputs, record.policy
    shape = record.scored.inputs.arrays[first.name].shape[1:]
    return record.inputs, record.outputs, record.policy, shape


def _rows(records: Sequence[CallRecord], digests: Digests) -> Rows:
    first = records[0]
    redacted = set(first.policy.redact)
    kept = [put for put in first.inputs if put.name not in redacted]
    counts = np.array([record.rows for record in records])
    calls = np.repeat(np.arange(len(records)), counts)
    ids = [record.prediction_id for record in records]
    scored = [record.scored for record in records]
    named = [
        *(
            (INPUT + name, array)
            for name, array in input_columns(kept, ids, scored, calls, digests)
        ),
        *output_columns(first.outputs, scored),
    ]
    fields = [*ENVELOPE, *(pa.field(name, array.type) for name, array in named)]
    arrays = [*_envelope(records, calls, counts), *(array for _, array in named)]
    left_out = [
        name
        for put in first.inputs
        if put.name in redacted
        for name in names_of(put, first.scored.inputs.arrays[put.name])
    ]
    return Rows(pa.table(arrays, schema=pa.schema(fields)), tuple(left_out))


def _envelope(
    records: Sequence[CallRecord], calls: np.ndarray, counts: np.ndarray
) -> list[pa.Array]:
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    places = pa.array(np.arange(len(calls)) - starts).cast(pa.string())
    rows = pa.array(calls)
    ids = pa.array([r.prediction_id for r in records], pa.string()).take(rows)
    times = np.repeat(np.array([r.micros for r in records]), counts)
    return [
        pc.binary_join_element_wise(ids, places, "."),
        _per_call([r.request_id for r in records], pa.string(), rows),
        pa.array(times).cast(ENVELOPE.field("time").type),
        _per_call([r.version for r in records], pa.int32(), rows),
        _per_call([r.arm for r in records], pa.string(), rows),
        _per_call([_error(r) for r in records], pa.string(), rows),
    ]


def _per_call(values: Sequence[object], kind: pa.DataType, rows: pa.Array) -> pa.Array:
    """Each call's value for all its rows; most often it is one value for all."""
    first = values[0]
    if values.count(first) < len(values):
        return pa.array(values, kind).take(rows)
    return (
        pa.nulls(len(rows), kind) if first is None else pa.repeat(pa.scalar(first, kind), len(rows))
    )


def _error(record: CallRecord) -> str | None:
    error = record.scored.error
    return None if error is None else told_error(record.policy, error)

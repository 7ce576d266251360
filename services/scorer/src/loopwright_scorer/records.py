"""Scored rows as Arrow: what of a call is kept, and how it becomes the columns of a batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from loopwright_common.inference import ENVELOPE, INPUT, OUTPUT, SCORE
from loopwright_scorer.models import Scored
from loopwright_scorer.tensors import TensorType

_LARGEST_TENSOR = 64
"""Values per row; larger tensors are not recorded, their outputs are."""
_ARROW = {
    "FP64": pa.float64(),
    "FP32": pa.float32(),
    "INT64": pa.int64(),
    "INT32": pa.int32(),
    "BOOL": pa.bool_(),
    "BYTES": pa.string(),
}


@dataclass(frozen=True, slots=True)
class CallRecord:
    """References to what a call was given and answered; `size` is its share of the buffer."""

    model_id: str
    model: str
    prediction_id: str
    request_id: str | None
    time: datetime
    version: int
    arm: Literal["live", "shadow"]
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    scored: Scored
    size: int

    @property
    def rows(self) -> int:
        return self.scored.inputs.rows


def to_tables(records: Sequence[CallRecord]) -> list[pa.Table]:
    """One table per run of records with the same columns, rows in the order of the calls."""
    tables: list[pa.Table] = []
    run: list[CallRecord] = []
    for record in records:
        if run and _columns(record) != _columns(run[0]):
            tables.append(_table(run))
            run = []
        run.append(record)
    if run:
        tables.append(_table(run))
    return tables


def empty_table() -> pa.Table:
    """No rows: an end mark has nothing else to say."""
    return ENVELOPE.empty_table()


def _columns(record: CallRecord) -> tuple[Sequence[TensorType], Sequence[TensorType]]:
    return record.inputs, record.outputs


def _table(records: Sequence[CallRecord]) -> pa.Table:
    named = [*_inputs(records), *_outputs(records)]
    fields = [*ENVELOPE, *(pa.field(name, array.type) for name, array in named)]
    arrays = [*_envelope(records), *(array for _, array in named)]
    return pa.table(arrays, schema=pa.schema(fields))


def _envelope(records: Sequence[CallRecord]) -> list[pa.Array]:
    rows = [
        (f"{r.prediction_id}.{row}", r.request_id, r.time, r.version, r.arm, r.scored.error)
        for r in records
        for row in range(r.rows)
    ]
    columns = zip(*rows, strict=True)
    return [pa.array(c, field.type) for c, field in zip(columns, ENVELOPE, strict=True)]


def _inputs(records: Sequence[CallRecord]) -> Iterable[tuple[str, pa.Array]]:
    for put in records[0].inputs:
        parts = [record.scored.inputs.arrays[put.name] for record in records]
        for name, array in _input(put, np.concatenate(parts)):
            yield INPUT + name, array


def _input(put: TensorType, values: np.ndarray) -> Iterable[tuple[str, pa.Array]]:
    if len(put.shape) == 1:
        yield put.name, _array(values, put.datatype)
        return
    flat = values.reshape(len(values), -1)
    if flat.shape[1] <= _LARGEST_TENSOR:
        for i in range(flat.shape[1]):
            yield f"{put.name}_{i}", pa.array(flat[:, i].astype(np.float64), from_pandas=True)


def _outputs(records: Sequence[CallRecord]) -> Iterable[tuple[str, pa.Array]]:
    declared = {put.name: put for put in records[0].outputs}
    if label := declared.get("label"):
        yield f"{OUTPUT}label", _array(_gathered(records, "label"), label.datatype)
    if declared.keys() & {"probabilities", "prediction"}:
        scores = [_score(record) for record in records]
        yield SCORE, pa.array(np.concatenate(scores), pa.float64(), from_pandas=True)
    probabilities = declared.get("probabilities")
    if probabilities and probabilities.shape[1] != 2:
        yield f"{OUTPUT}probabilities", pa.array(_lists(records), pa.list_(pa.float64()))


def _gathered(records: Sequence[CallRecord], name: str) -> np.ndarray:
    parts = [
        np.full(r.rows, None, object)
        if r.scored.outputs is None
        else getattr(r.scored.outputs, name)
        for r in records
    ]
    return np.concatenate(parts)


def _score(record: CallRecord) -> np.ndarray:
    score = record.scored.outputs.score() if record.scored.outputs else None
    return np.full(record.rows, np.nan) if score is None else score.astype(np.float64)


def _lists(records: Sequence[CallRecord]) -> list[list[float] | None]:
    lists: list[list[float] | None] = []
    for record in records:
        outputs = record.scored.outputs
        if outputs is None or outputs.probabilities is None:
            lists += [None] * record.rows
        else:
            lists += outputs.probabilities.tolist()
    return lists


def _array(values: np.ndarray, datatype: str) -> pa.Array:
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us"))
    return pa.array(values, _ARROW.get(datatype), from_pandas=True)

"""Inputs and outputs of many calls as Arrow columns, without work per value or row in Python."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from loopwright_common.inference import OUTPUT, SCORE
from loopwright_scorer.models import Scored
from loopwright_scorer.runtimes.outputs import PREDICTION, PROBABILITIES
from loopwright_scorer.tensors import TensorType

_LARGEST_TENSOR = 64
"""Values per row that get columns of their own; of larger tensors only the digest is a column."""
_ARROW = {
    "FP64": pa.float64(),
    "FP32": pa.float32(),
    "INT64": pa.int64(),
    "INT32": pa.int32(),
    "BOOL": pa.bool_(),
    "BYTES": pa.string(),
}
Named = Iterator[tuple[str, pa.Array]]
Digests = Mapping[tuple[str, str], str]
"""Of large inputs, by prediction id and name of the input."""


def is_large(values: np.ndarray) -> bool:
    return math.prod(values.shape[1:]) > _LARGEST_TENSOR


def names_of(put: TensorType, values: np.ndarray) -> list[str]:
    """The columns that an input is recorded in."""
    if len(put.shape) == 1 or is_large(values):
        return [put.name]
    return [f"{put.name}_{i}" for i in range(math.prod(values.shape[1:]))]


def input_columns(
    inputs: Sequence[TensorType],
    ids: Sequence[str],
    scored: Sequence[Scored],
    calls: np.ndarray,
    digests: Digests,
) -> Named:
    """`calls[i]` is the place among `scored` of the call that row i is of."""
    matrix = _joined_matrix(scored)
    for put in inputs:
        if matrix is not None:
            yield put.name, _array(matrix[put.name], put)
            continue
        example = scored[0].inputs.arrays[put.name]
        if is_large(example):
            kept = [digests.get((each, put.name)) for each in ids]
            yield put.name, pa.array(kept, pa.string()).take(pa.array(calls))
            continue
        values = np.concatenate([each.inputs.arrays[put.name] for each in scored])
        if len(put.shape) == 1:
            yield put.name, _array(values, put)
            continue
        for name, column in zip(
            names_of(put, example), values.reshape(len(values), -1).T, strict=True
        ):
            yield name, _array(column, put)


def output_columns(outputs: Sequence[TensorType], scored: Sequence[Scored]) -> Named:
    """What was answered; the monitored score stands for a number or a pair of probabilities."""
    for put in outputs:
        if not _is_score(put):
            yield OUTPUT + put.name, _answers(put, scored)
    if any(_is_score(put) or put.name == PROBABILITIES for put in outputs):
        scores = np.concatenate([_score(each) for each in scored])
        yield SCORE, pa.array(scores, pa.float64(), from_pandas=True)


def _joined_matrix(scored: Sequence[Scored]) -> Mapping[str, np.ndarray] | None:
    """Columns by name where every call has them as one matrix."""
    matrices = [each.inputs.matrix for each in scored if each.inputs.matrix is not None]
    if len(matrices) < len(scored):
        return None
    columns = np.concatenate([matrix.T for matrix in matrices], axis=1)
    return dict(zip(scored[0].inputs.arrays, columns, strict=True))


def _is_score(put: TensorType) -> bool:
    if put.name == PROBABILITIES:
        return len(put.shape) == 2 and put.shape[1] == 2
    return put.name == PREDICTION and len(put.shape) == 1


def _score(scored: Scored) -> np.ndarray:
    score = scored.outputs.score() if scored.outputs else None
    return np.full(scored.inputs.rows, np.nan) if score is None else score


def _answers(put: TensorType, scored: Sequence[Scored]) -> pa.Array:
    found = [getattr(each.outputs, put.name, None) for each in scored]
    if len(put.shape) == 1:
        rows = [
            np.full(each.inputs.rows, None, object) if values is None else values
            for each, values in zip(scored, found, strict=True)
        ]
        return _array(np.concatenate(rows), put)
    lists: list[list[object] | None] = []
    for each, values in zip(scored, found, strict=True):
        lists += [None] * each.inputs.rows if values is None else values.tolist()
    kind = pa.float64() if put.name != "label" else _ARROW.get(put.datatype)
    return pa.array(lists, pa.list_(kind) if len(put.shape) == 2 and kind else None)


def _array(values: np.ndarray, put: TensorType) -> pa.Array:
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us"))
    if len(put.shape) > 1 and values.dtype.kind in "biuf":
        return pa.array(values.astype(np.float64), from_pandas=True)
    return pa.array(values, _ARROW.get(put.datatype), from_pandas=True)

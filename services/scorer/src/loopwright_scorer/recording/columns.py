"""Inputs and outputs of many calls as Arrow columns, without work per value or row in Python."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from loopwright_common.cloudevents.inference_logged import INPUT, OUTPUT, SCORE
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    ModelOutputs,
    TensorType,
)

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


class InputColumns:
    """How the inputs of calls with the same signature are recorded, but for the `redacted`."""

    def __init__(
        self, inputs: Sequence[TensorType], like: ModelInputs, redacted: Collection[str]
    ) -> None:
        """`like`: those of one of the calls."""
        arrays = like.arrays
        kept = [put for put in inputs if put.name not in redacted]
        self._kept = kept
        self._names = {put.name: _names_of(put, arrays[put.name]) for put in inputs}
        self._places = like.column_positions()
        self.large = [put.name for put in kept if _is_large(put, arrays[put.name])]
        """Names of those that do not fit into columns."""
        self._alone = [put.name for put in kept if put.name not in self.large]
        self.left_out = tuple(
            name for put in inputs if put.name in redacted for name in self._names[put.name]
        )

    def parts(self, inputs: ModelInputs) -> Sequence[np.ndarray]:
        """What is kept of a call, each [rows, ...], but for the large ones."""
        if inputs.blocks:
            return inputs.blocks
        return [inputs.arrays[name] for name in self._alone]

    def columns(
        self, blocks: Sequence[np.ndarray], large: Mapping[str, Sequence[str | None]]
    ) -> Named:
        """Of the parts of all calls, each as [columns, rows], and each row's digest of `large`."""
        for put in self._kept:
            if put.name in large:
                yield INPUT + put.name, pa.array(large[put.name], pa.string())
            elif self._places:
                block, column = self._places[put.name]
                yield INPUT + put.name, _array(blocks[block][column], put)
            else:
                own = blocks[self._alone.index(put.name)]
                for name, values in zip(self._names[put.name], own, strict=True):
                    yield INPUT + name, _array(values, put)


class OutputColumns:
    """How answers are recorded: the monitored score stands for a number or two probabilities."""

    def __init__(self, outputs: Sequence[TensorType]) -> None:
        self._told = [put for put in outputs if not _is_score(put)]
        self._has_score = any(_is_score(put) or put.name == PROBABILITIES for put in outputs)

    def parts(self, rows: int, outputs: ModelOutputs | None) -> Sequence[np.ndarray]:
        """What is kept of an answer, each [rows, ...]; nothing where there is none."""
        if outputs is None:
            return []
        found = [getattr(outputs, put.name) for put in self._told]
        parts = [np.full(rows, None, object) if each is None else each for each in found]
        if self._has_score:
            score = outputs.score()
            parts.append(np.full(rows, np.nan) if score is None else score)
        return parts

    def columns(self, blocks: Sequence[np.ndarray], rows: int) -> Named:
        """Of the parts of all calls, each as [columns, rows]; nulls where there are none."""
        for i, put in enumerate(self._told):
            kind = _type_of(put)
            if not blocks:
                yield OUTPUT + put.name, pa.nulls(rows, kind)
            elif len(put.shape) == 1:
                yield OUTPUT + put.name, _array(blocks[i][0], put)
            else:
                yield OUTPUT + put.name, pa.array(blocks[i].T.tolist(), kind)
        if self._has_score:
            scores = blocks[-1][0] if blocks else np.full(rows, np.nan)
            yield SCORE, pa.array(scores, pa.float64(), from_pandas=True)


def _is_large(put: TensorType, values: np.ndarray) -> bool:
    return len(put.shape) > 1 and math.prod(values.shape[1:]) > _LARGEST_TENSOR


def _names_of(put: TensorType, values: np.ndarray) -> list[str]:
    """The columns that an input is recorded in."""
    if len(put.shape) == 1 or _is_large(put, values):
        return [put.name]
    return [f"{put.name}_{i}" for i in range(math.prod(values.shape[1:]))]


def _is_score(put: TensorType) -> bool:
    if put.name == PROBABILITIES:
        return len(put.shape) == 2 and put.shape[1] == 2
    return put.name == PREDICTION and len(put.shape) == 1


def _type_of(put: TensorType) -> pa.DataType | None:
    """An output's, where it follows from the signature."""
    kind = pa.float64() if len(put.shape) > 1 and put.name != LABEL else _ARROW.get(put.datatype)
    return pa.list_(kind) if len(put.shape) == 2 and kind else kind


def _array(values: np.ndarray, put: TensorType) -> pa.Array:
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us"))
    if len(put.shape) > 1 and values.dtype.kind in "biuf":
        return pa.array(values.astype(np.float64, copy=False), from_pandas=True)
    return pa.array(values, _ARROW.get(put.datatype), from_pandas=True)

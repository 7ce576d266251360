"""Inputs and outputs of many calls as Arrow columns, without work per value or row in Python."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from loopwright_common.cloudevents import INPUT, OUTPUT, SCORE
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
        kept = [tensor for tensor in inputs if tensor.name not in redacted]
        self._kept = kept
        self._names = {tensor.name: _names_of(tensor, arrays[tensor.name]) for tensor in inputs}
        self._positions = like.column_positions()
        self.large = [tensor.name for tensor in kept if _is_large(tensor, arrays[tensor.name])]
        """Names of those that do not fit into columns."""
        self._separate = [tensor.name for tensor in kept if tensor.name not in self.large]
        self.left_out = tuple(
            name
            for tensor in inputs
            if tensor.name in redacted
            for name in self._names[tensor.name]
        )

    def parts(self, inputs: ModelInputs) -> Sequence[np.ndarray]:
        """What is kept of a call, each [rows, ...], but for the large ones."""
        if inputs.blocks:
            return inputs.blocks
        return [inputs.arrays[name] for name in self._separate]

    def columns(
        self, blocks: Sequence[np.ndarray], large: Mapping[str, Sequence[str | None]]
    ) -> Named:
        """Arrow columns of the parts of all calls, each [columns, rows]; `large` by digests."""
        for tensor in self._kept:
            if tensor.name in large:
                yield INPUT + tensor.name, pa.array(large[tensor.name], pa.string())
            elif self._positions:
                block, column = self._positions[tensor.name]
                yield INPUT + tensor.name, _array(blocks[block][column], tensor)
            else:
                own = blocks[self._separate.index(tensor.name)]
                for name, values in zip(self._names[tensor.name], own, strict=True):
                    yield INPUT + name, _array(values, tensor)


class OutputColumns:
    """How answers are recorded: the monitored score stands for a number or two probabilities."""

    def __init__(self, outputs: Sequence[TensorType]) -> None:
        self._recorded = [tensor for tensor in outputs if not _is_score(tensor)]
        self._has_score = any(
            _is_score(tensor) or tensor.name == PROBABILITIES for tensor in outputs
        )

    def parts(self, rows: int, outputs: ModelOutputs | None) -> Sequence[np.ndarray]:
        """What is kept of an answer, each [rows, ...]; nothing where there is none."""
        if outputs is None:
            return []
        answered = [getattr(outputs, tensor.name) for tensor in self._recorded]
        parts = [np.full(rows, None, object) if each is None else each for each in answered]
        if self._has_score:
            score = outputs.score()
            parts.append(np.full(rows, np.nan) if score is None else score)
        return parts

    def columns(self, blocks: Sequence[np.ndarray], rows: int) -> Named:
        """Arrow columns of the parts of all calls, each [columns, rows]; nulls without any."""
        for i, tensor in enumerate(self._recorded):
            kind = _type_of(tensor)
            if not blocks:
                yield OUTPUT + tensor.name, pa.nulls(rows, kind)
            elif len(tensor.shape) == 1:
                yield OUTPUT + tensor.name, _array(blocks[i][0], tensor)
            else:
                yield OUTPUT + tensor.name, pa.array(blocks[i].T.tolist(), kind)
        if self._has_score:
            scores = blocks[-1][0] if blocks else np.full(rows, np.nan)
            yield SCORE, pa.array(scores, pa.float64(), from_pandas=True)


def _is_large(tensor: TensorType, values: np.ndarray) -> bool:
    return len(tensor.shape) > 1 and math.prod(values.shape[1:]) > _LARGEST_TENSOR


def _names_of(tensor: TensorType, values: np.ndarray) -> list[str]:
    """The columns that an input is recorded in."""
    if len(tensor.shape) == 1 or _is_large(tensor, values):
        return [tensor.name]
    return [f"{tensor.name}_{i}" for i in range(math.prod(values.shape[1:]))]


def _is_score(tensor: TensorType) -> bool:
    if tensor.name == PROBABILITIES:
        return len(tensor.shape) == 2 and tensor.shape[1] == 2
    return tensor.name == PREDICTION and len(tensor.shape) == 1


def _type_of(tensor: TensorType) -> pa.DataType | None:
    """An output's, where it follows from the signature."""
    kind = (
        pa.float64()
        if len(tensor.shape) > 1 and tensor.name != LABEL
        else _ARROW.get(tensor.datatype)
    )
    return pa.list_(kind) if len(tensor.shape) == 2 and kind else kind


def _array(values: np.ndarray, tensor: TensorType) -> pa.Array:
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us"))
    if len(tensor.shape) > 1 and values.dtype.kind in "biuf":
        return pa.array(values.astype(np.float64, copy=False), from_pandas=True)
    return pa.array(values, _ARROW.get(tensor.datatype), from_pandas=True)

"""Calls as they wait to be logged: pages of rows, and the tables made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopwright_common.inference import ENVELOPE
from loopwright_common.policy import RecordPolicy
from loopwright_scorer.columns import InputColumns, OutputColumns
from loopwright_scorer.keeping import WHOLE, told_error
from loopwright_scorer.models import Scored
from loopwright_scorer.stacks import Stack
from loopwright_scorer.tensors import TensorType

Digests = Mapping[tuple[str, str], str]
"""Of large inputs, by prediction id and name of the input."""


@dataclass(slots=True)
class CallRecord:
    """What a call was given and answered; `size` is its share of the buffer, in bytes.

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

    def kind(self) -> tuple[object, ...]:
        """Calls with the same one may be on a page."""
        failed = self.scored.outputs is None
        return self.model_id, id(self.inputs), id(self.outputs), id(self.policy), failed


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with the same columns, in the order of their calls, without the `redacted` ones."""

    table: pa.Table
    redacted: tuple[str, ...] = ()


def no_rows() -> Rows:
    """A batch of none says that the stream has ended, or how much of it was dropped."""
    return Rows(ENVELOPE.empty_table())


@dataclass(frozen=True, slots=True)
class Large:
    """An input that does not fit into columns."""

    prediction_id: str
    name: str
    values: np.ndarray


class Page:
    """The rows of calls of one kind, copied into columns: nothing else of a call is kept."""

    def __init__(self, first: CallRecord) -> None:
        """Without any call yet, also the first."""
        # The kind is told by identities, which hold as long as what they are of.
        self._like = first
        scored = first.scored
        self._inputs = InputColumns(first.inputs, scored.inputs, first.policy.redact)
        self._outputs = OutputColumns(first.outputs)
        self._stacks = [Stack(part) for part in self._parts(first)]
        self._calls: list[tuple[str, str | None, int, int, str, str | None]] = []
        self._counts: list[int] = []
        self.model_id = first.model_id
        self.model = first.model
        self.large: list[Large] = []
        self.rows = 0
        self.size = 0
        """Bytes of the buffer that its calls take."""

    def add(self, record: CallRecord) -> bool:
        """False where its arrays are not of the types and shapes of those before."""
        parts = self._parts(record)
        if not all(map(Stack.takes, self._stacks, parts)):
            return False
        for stack, part in zip(self._stacks, parts, strict=True):
            stack.add(part)
        for name in self._inputs.large:
            values = record.scored.inputs.arrays[name]
            self.large.append(Large(record.prediction_id, name, values))
        self._calls.append(
            (
                record.prediction_id,
                record.request_id,
                record.micros,
                record.version,
                record.arm,
                _error(record),
            )
        )
        rows = record.rows
        self._counts.append(rows)
        self.rows += rows
        self.size += record.size
        return True

    def table(self, digests: Digests) -> Rows:
        """All its rows; of large inputs the digest, where they could be kept."""
        counts = np.array(self._counts)
        calls = np.repeat(np.arange(len(counts)), counts)
        kept = [stack.columns() for stack in self._stacks]
        inputs = len(self._inputs.parts(self._like.scored.inputs))
        named = [
            *self._inputs.columns(kept[:inputs], self._digests(digests, calls)),
            *self._outputs.columns(kept[inputs:], self.rows),
        ]
        fields = [*ENVELOPE, *(pa.field(name, array.type) for name, array in named)]
        arrays = [*_envelope(self._calls, calls, counts), *(array for _, array in named)]
        return Rows(pa.table(arrays, schema=pa.schema(fields)), self._inputs.left_out)

    def _parts(self, record: CallRecord) -> list[np.ndarray]:
        inputs, outputs = record.scored.inputs, record.scored.outputs
        return [*self._inputs.parts(inputs), *self._outputs.parts(inputs.rows, outputs)]

    def _digests(self, digests: Digests, calls: np.ndarray) -> dict[str, list[str | None]]:
        """By name of the input, of each row."""
        names = {large.name for large in self.large}
        ids = [call[0] for call in self._calls]
        return {name: [digests.get((ids[call], name)) for call in calls] for name in names}


def joined(pages: Sequence[Page], digests: Digests) -> list[Rows]:
    """The pages' rows, those with the same columns together, in the order of their times."""
    found: list[Rows] = []
    for rows in (page.table(digests) for page in pages):
        for i, other in enumerate(found):
            if rows.redacted == other.redacted and rows.table.schema == other.table.schema:
                found[i] = Rows(_in_order([other.table, rows.table]), rows.redacted)
                break
        else:
            found.append(rows)
    return found


def _in_order(tables: Sequence[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    times = table.column("time").cast(pa.int64()).to_numpy()
    return table.take(pa.array(np.argsort(times, kind="stable"))).combine_chunks()


def _envelope(
    told: Sequence[tuple[object, ...]], calls: np.ndarray, counts: np.ndarray
) -> list[pa.Array]:
    ids, request_ids, micros, versions, arms, errors = zip(*told, strict=True)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    places = pa.array(np.arange(len(calls)) - starts).cast(pa.string())
    rows = pa.array(calls)
    return [
        pc.binary_join_element_wise(pa.array(ids, pa.string()).take(rows), places, "."),
        _per_call(request_ids, pa.string(), rows),
        pa.array(np.repeat(np.array(micros), counts)).cast(ENVELOPE.field("time").type),
        _per_call(versions, pa.int32(), rows),
        _per_call(arms, pa.string(), rows),
        _per_call(errors, pa.string(), rows),
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

"""Rows of calls copied into columns, and the tables made of them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from loopwright_common.cloudevents import ENVELOPE
from loopwright_scorer.recording.columns import InputColumns, OutputColumns
from loopwright_scorer.recording.records import CallRecord, Digests, LargeInput, LoggedRows
from loopwright_scorer.routing.record_policy import RecordedArm, redacted_error
from loopwright_scorer.tensors.array_stack import ArrayStack, ShapeMismatchError, stack_arrays
from loopwright_scorer.tensors.tensors import concatenate_outputs

log = structlog.get_logger()
_SMALL_ROWS = 32
"""Rows of a call up to which copying calls together costs less than keeping each as it came."""


class ColumnBuffer:
    """The rows of like calls in columns; nothing else of calls that came together is kept."""

    def __init__(self, calls: Sequence[CallRecord]) -> None:
        """ShapeMismatchError where their arrays are not of the same types and shapes."""
        first = calls[0]
        self.kind = first.kind
        self._inputs = InputColumns(self.kind.inputs, first.scored.inputs, self.kind.policy.redact)
        self._outputs = OutputColumns(self.kind.outputs)
        parts = self._parts(calls)
        self._stacks = [ArrayStack(part[0]) for part in parts]
        self._input_parts = len(self._inputs.parts(first.scored.inputs))
        self._ids: list[str] = []
        self._request_ids: list[str | None] = []
        self._micros: list[int] = []
        self._errors: list[str | None] = []
        self._counts: list[int] = []
        self.large: list[LargeInput] = []
        self.rows = 0
        self.size = 0
        """Bytes of the buffer that its calls take."""
        if not self._fits(parts):
            raise ShapeMismatchError
        self.columns = len(ENVELOPE) + sum(stack.width for stack in self._stacks)
        self._append(calls, parts)

    def append(self, calls: Sequence[CallRecord]) -> bool:
        """False where their arrays are not of the types and shapes of those before.

        ShapeMismatchError where they are not even among themselves.
        """
        parts = self._parts(calls)
        if not self._fits(parts):
            return False
        self._append(calls, parts)
        return True

    def table(self, digests: Digests) -> LoggedRows:
        """All its rows; of large inputs the digest, where they could be kept."""
        counts = np.array(self._counts)
        calls = np.repeat(np.arange(len(counts)), counts)
        kept = [stack.columns() for stack in self._stacks]
        inputs, outputs = kept[: self._input_parts], kept[self._input_parts :]
        named = [
            *self._inputs.columns(inputs, self._digests(digests, calls)),
            *self._outputs.columns(outputs, self.rows),
        ]
        fields = [*ENVELOPE, *(pa.field(name, array.type) for name, array in named)]
        arrays = [*self._envelope(calls, counts), *(array for _, array in named)]
        return LoggedRows(pa.table(arrays, schema=pa.schema(fields)), self._inputs.left_out)

    def _parts(self, calls: Sequence[CallRecord]) -> list[Sequence[np.ndarray]]:
        """What is kept of the calls, part by part; ShapeMismatchError where that is not alike."""
        scored = [call.scored for call in calls]
        rows = sum(call.rows for call in calls)
        inputs = list(zip(*[self._inputs.parts(each.inputs) for each in scored], strict=True))
        if rows <= _SMALL_ROWS * len(calls):
            inputs = [(stack_arrays(each),) for each in inputs]
        outputs = [each.outputs for each in scored if each.outputs is not None]
        answers = self._outputs.parts(rows, concatenate_outputs(outputs)) if outputs else []
        return [*inputs, *((answer,) for answer in answers)]

    def _fits(self, parts: Sequence[Sequence[np.ndarray]]) -> bool:
        return all(map(ArrayStack.takes, self._stacks, parts))

    def _append(self, calls: Sequence[CallRecord], parts: Sequence[Sequence[np.ndarray]]) -> None:
        for stack, part in zip(self._stacks, parts, strict=True):
            stack.add(part)
        for name in self._inputs.large:
            for call in calls:
                self.large.append(
                    LargeInput(call.prediction_id, name, call.scored.inputs.arrays[name])
                )
        self._ids += [call.prediction_id for call in calls]
        self._request_ids += [call.request_id for call in calls]
        self._micros += [call.micros for call in calls]
        if calls[0].scored.error is not None:
            policy = self.kind.policy
            self._errors += [redacted_error(policy, call.scored.error or "") for call in calls]
        counts = [call.rows for call in calls]
        self._counts += counts
        self.rows += sum(counts)
        self.size += sum(call.size for call in calls)

    def _envelope(self, calls: np.ndarray, counts: np.ndarray) -> list[pa.Array]:
        """`calls`: of each row the call, by its position."""
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        positions = pa.array(np.arange(len(calls)) - starts).cast(pa.string())
        rows = pa.array(calls)
        ids = pa.array(self._ids, pa.string())
        return [
            pc.binary_join_element_wise(ids.take(rows), positions, "."),
            _per_call(self._request_ids, rows),
            pa.array(np.repeat(np.array(self._micros), counts)).cast(ENVELOPE.field("time").type),
            pa.repeat(pa.scalar(self.kind.version, pa.int32()), self.rows),
            pa.repeat(pa.scalar(self.kind.arm, pa.string()), self.rows),
            _per_call(self._errors, rows),
        ]

    def _digests(self, digests: Digests, calls: np.ndarray) -> dict[str, list[str | None]]:
        """By name of the input, of each row."""
        names = {large.name for large in self.large}
        return {name: [digests.get((self._ids[call], name)) for call in calls] for name in names}


class ColumnBuffers:
    """The column buffers of the next batches, and which of them are still open."""

    def __init__(self) -> None:
        self._buffers: list[ColumnBuffer] = []
        self._open: dict[tuple[RecordedArm, bool], ColumnBuffer] = {}

    def append(self, records: Sequence[CallRecord]) -> list[CallRecord]:
        """Copy the records; those that cannot be kept are returned, as answers may be anything."""
        lost: list[CallRecord] = []
        alike: dict[tuple[RecordedArm, bool], list[CallRecord]] = {}
        for record in records:
            alike.setdefault(record.buffer_key, []).append(record)
        for calls in alike.values():
            try:
                self._append(calls)
            except Exception:  # noqa: BLE001 - they are not alike, or one of them cannot be kept
                lost += [call for call in calls if not self._is_appended_alone(call)]
        return lost

    def drain(self) -> list[ColumnBuffer]:
        """All buffers, of which none is open any more."""
        buffers, self._buffers, self._open = self._buffers, [], {}
        return buffers

    def _append(self, calls: Sequence[CallRecord]) -> None:
        buffer = self._open.get(calls[0].buffer_key)
        if buffer is None or not buffer.append(calls):
            buffer = self._open[calls[0].buffer_key] = ColumnBuffer(calls)
            self._buffers.append(buffer)

    def _is_appended_alone(self, call: CallRecord) -> bool:
        try:
            self._append([call])
        except Exception as error:  # noqa: BLE001 - as above
            log.error("recorder.not-kept", model=call.kind.model, error=type(error).__name__)
            return False
        return True


def tables(buffers: Iterable[ColumnBuffer], digests: Digests) -> list[LoggedRows]:
    """The buffers' rows, those with the same columns together, in the order of their times."""
    alike: list[list[LoggedRows]] = []
    for rows in (buffer.table(digests) for buffer in buffers):
        for others in alike:
            if rows.redacted == others[0].redacted and rows.table.schema == others[0].table.schema:
                others.append(rows)
                break
        else:
            alike.append([rows])
    return [LoggedRows(_in_order([rows.table for rows in own]), own[0].redacted) for own in alike]


def _in_order(parts: Sequence[pa.Table]) -> pa.Table:
    if len(parts) == 1:
        return parts[0]
    table = pa.concat_tables(parts)
    times = table.column("time").cast(pa.int64()).to_numpy()
    return table.take(pa.array(np.argsort(times, kind="stable"))).combine_chunks()


def _per_call(values: Sequence[str | None], rows: pa.Array) -> pa.Array:
    """Each call's text for all its rows; most often there is none."""
    if values.count(None) < len(values):
        return pa.array(values, pa.string()).take(rows)
    return pa.nulls(len(rows), pa.string())

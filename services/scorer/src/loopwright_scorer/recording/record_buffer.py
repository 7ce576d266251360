"""Records of calls until they are sealed: those that the policy samples and the budget admits."""

import asyncio
from collections.abc import Callable, Sequence

from loopwright_common.deploy_policy import RecordPolicy
from loopwright_scorer.recording.column_buffer import ColumnBuffer, ColumnBuffers
from loopwright_scorer.recording.records import CallRecord
from loopwright_scorer.routing.record_policy import RecordedArm

_RANDOM = slice(28, 36)
"""The last 32 random bits of the UUIDv7 that a prediction id begins with, in hex."""
_RANGE = float(1 << 32)
_CALLS_AT_A_TIME = 32
"""Calls that are written together: one by one, between answers, would take several times that."""
_ROW_BYTES = 100
"""What a row takes in the buffer beside the request it came with."""
_BURST_SECONDS = 2
"""A burst may take as much at once as comes in this time."""
_CHECK_SECONDS = 0.1
_BUSY = 0.75
"""Share of a core that the event loop takes when there is no time to spare."""


class RecordBudget:
    """A budget for records, in bytes of the requests they are records of.

    Sealing costs answers in proportion to what is sealed. A flood is therefore recorded up to a
    rate, spread over all of its time, instead of as fast as it can be and then not at all.
    """

    def __init__(self, room: int, rate: int) -> None:
        """`room` in bytes, `rate` in bytes a second."""
        self._room = room
        self._rate = rate / 1e6
        self._burst = self._allowance = float(rate * _BURST_SECONDS)
        self._since = 0
        self._checked = (0.0, 0.0)

    def reserve(self, size: int, micros: int) -> bool:
        """Whether there is room for so many bytes; `micros`: now, in microseconds since 1970.

        What is larger than a burst is admitted when nothing was for so long, and paid for later.
        """
        if size > self._room:
            return False
        if size > self._allowance:
            # Only looked at when it is short, as most of the time it is not.
            passed, self._since = max(micros - self._since, 0), micros
            self._allowance = min(self._allowance + passed * self._rate, self._burst)
            if size > self._allowance < self._burst:
                return False
        self._allowance -= size
        self._room -= size
        return True

    def release(self, size: int) -> None:
        """Give back the memory of records that wait no more."""
        self._room += size

    def refill_when_idle(self, now: float, cpu: float) -> None:
        """Refill the allowance where the event loop is idle.

        `now` and `cpu`: the time and the event loop's own CPU time, both in seconds.
        """
        passed, used = now - self._checked[0], cpu - self._checked[1]
        if passed < _CHECK_SECONDS:
            return
        self._checked = now, cpu
        if used < _BUSY * passed:
            self._allowance = self._burst


class RecordBuffer:
    """Takes records without waiting; the rows of some calls are written to columns together."""

    def __init__(
        self, budget: RecordBudget, rows: int, on_drop: Callable[[RecordedArm, int], None]
    ) -> None:
        """`full` is set from so many `rows` on; `on_drop` is told whose rows found no room."""
        self.budget = budget
        self.full = asyncio.Event()
        self.left_out = 0
        """Rows that the policies' samples left out."""
        self._rows = rows
        self._on_drop = on_drop
        self._unwritten: list[CallRecord] = []
        self._columns = ColumnBuffers()
        self._waiting_rows = 0

    def append(self, record: CallRecord) -> None:
        """Keep the record unless it is not sampled; what exceeds the budget is dropped."""
        if not (rows := record.scored.inputs.rows):
            return
        if not is_kept(record.kind.policy, record.prediction_id):
            self.left_out += rows
            return
        record.size += rows * _ROW_BYTES
        if not self.budget.reserve(record.size, record.micros):
            self._on_drop(record.kind, rows)
            return
        self._unwritten.append(record)
        self._waiting_rows += rows
        if len(self._unwritten) >= _CALLS_AT_A_TIME:
            self._write()
        if self._waiting_rows >= self._rows:
            self.full.set()

    def drain(self) -> Sequence[ColumnBuffer]:
        """All that was appended; it counts for the budget until it is given back."""
        self._write()
        self._waiting_rows = 0
        self.full.clear()
        return self._columns.drain()

    def _write(self) -> None:
        records, self._unwritten = self._unwritten, []
        for call in self._columns.append(records):
            self.budget.release(call.size)
            self._on_drop(call.kind, call.rows)


def is_kept(policy: RecordPolicy, prediction_id: str) -> bool:
    """Whether the call is in the policy's sample.

    The same for the answers of all arms to one call, since they share its UUID.
    """
    share = policy.sample
    return share >= 1 or int(prediction_id[_RANDOM], 16) < share * _RANGE

"""Inference records on their way out: buffered, sealed into batches, published or spilled.

An answer only appends a reference; the rows of some calls are then copied into column buffers
together. Every sealed batch has the next sequence number of its (replica, epoch, model) and keeps
its event id, so a gap is a loss and a repeat is recognized as one.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_common.failpoints import failpoint
from loopwright_scorer.recording.batches import (
    RecordStream,
    SealedBatch,
    fits_record,
    seal_batch,
    split_table,
)
from loopwright_scorer.recording.column_buffer import ColumnBuffer, tables
from loopwright_scorer.recording.offloaded_inputs import InputOffloader
from loopwright_scorer.recording.publisher import BatchPublisher
from loopwright_scorer.recording.record_buffer import RecordBudget, RecordBuffer
from loopwright_scorer.recording.records import Digests, LoggedRows, empty_rows
from loopwright_scorer.routing.canary_counters import ReplicaIdentity
from loopwright_scorer.routing.record_policy import RecordedArm

log = structlog.get_logger()
_INLINE_BYTES, _INLINE_COLUMNS = 4 << 20, 256
"""What is sealed between answers, within some 2 ms: a thread would ask for its turn a hundred
times, which costs answers more (docs/decisions/0007)."""


class RecordingMetrics:
    """Counters of what became of scored rows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.logged = self._rows(registry, "logged", "published at once")
        self.spilled = self._rows(registry, "spilled", "kept on disk until the bus is back")
        self.dropped = self._rows(registry, "dropped", "lost for want of room")
        self.left_out = self._rows(registry, "left_out", "that the policy's sample leaves out")
        self.waiting = Gauge(
            "loopwright_inference_spill_batches", "Batches waiting on disk.", registry=registry
        )

    @staticmethod
    def _rows(registry: CollectorRegistry, name: str, what: str) -> Counter:
        return Counter(
            f"loopwright_inference_rows_{name}", f"Scored rows {what}.", registry=registry
        )


class Recorder:
    """Sends what its `buffer` takes: `run` all the time, `stop` the rest and the end marks.

    What does not leave then is spilled for the next process.
    """

    def __init__(
        self,
        publisher: BatchPublisher,
        replica: ReplicaIdentity,
        metrics: RecordingMetrics,
        offloader: InputOffloader,
        *,
        every: float,
        rows: int,
        budget: RecordBudget,
    ) -> None:
        """`every` in seconds."""
        self._publisher = publisher
        self._replica = replica
        self._metrics = metrics
        self._offloader = offloader
        self._every = every
        self._rows = rows
        self.buffer = RecordBuffer(budget, rows, self._drop_of)
        """What takes the records of calls."""
        self._streams: dict[str, RecordStream] = {}
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self.buffer.full.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Send or spill everything appended so far, and report what was dropped."""
        async with self._lock:
            self.buffer.budget.refill_when_idle(time.monotonic(), time.thread_time())
            buffers = self.buffer.drain()
            await self._send(await self._seal(buffers))
            self.buffer.budget.release(sum(buffer.size for buffer in buffers))
            self._metrics.left_out.inc(self.buffer.left_out)
            self.buffer.left_out = 0
            if self._publisher.is_clear:
                unreported = [s for s in self._streams.values() if s.dropped > s.reported]
                await self._send(
                    [seal_batch(self._replica, stream, empty_rows()) for stream in unreported]
                )

    async def stop(self) -> None:
        """Send the rest and mark the end of every stream, within a few seconds."""
        self._publisher.shorten_timeout()
        await self.flush()
        async with self._lock:
            streams = self._streams.values()
            await self._send(
                [seal_batch(self._replica, each, empty_rows(), last=True) for each in streams]
            )

    async def _seal(self, buffers: Sequence[ColumnBuffer]) -> list[SealedBatch]:
        by_model: dict[str, list[ColumnBuffer]] = {}
        for buffer in buffers:
            by_model.setdefault(buffer.kind.model_id, []).append(buffer)
        sealed: list[SealedBatch] = []
        for own in by_model.values():
            await asyncio.sleep(0)  # answers go first
            digests = await self._offloader.offload(
                [large for buffer in own for large in buffer.large]
            )
            sealed += await self._batches(self._stream(own[0].kind), own, digests)
        failpoint("scorer.sealed")
        return sealed

    async def _batches(
        self, stream: RecordStream, buffers: Sequence[ColumnBuffer], digests: Digests
    ) -> list[SealedBatch]:
        """What cannot be sealed is dropped: records never end what they are records of."""
        try:
            if _is_small(buffers):
                sealed, lost = self._cut(stream, buffers, digests)
            else:
                sealed, lost = await asyncio.to_thread(self._cut, stream, buffers, digests)
        except Exception as error:  # noqa: BLE001 - a column may hold what Arrow does not take
            log.error("recorder.not-sealed", model=stream.model, error=type(error).__name__)
            sealed, lost = [], sum(buffer.rows for buffer in buffers)
        self._drop(stream, lost)
        return sealed

    def _cut(
        self, stream: RecordStream, buffers: Sequence[ColumnBuffer], digests: Digests
    ) -> tuple[list[SealedBatch], int]:
        """Sealed batches, and how many rows are each too large for one."""
        sealed, lost = [], 0
        for rows in tables(buffers, digests):
            for part in split_table(rows.table, self._rows):
                if part.num_rows > 1 or fits_record(part):
                    sealed.append(
                        seal_batch(self._replica, stream, LoggedRows(part, rows.redacted))
                    )
                else:
                    lost += 1
        return sealed, lost

    async def _send(self, sealed: Sequence[SealedBatch]) -> None:
        if not sealed:
            return
        if await self._publisher.publish([batch.record for batch in sealed]):
            self._metrics.logged.inc(sum(batch.rows for batch in sealed))
            self._mark_reported(sealed)
            return
        for batch in sealed:
            if await self._publisher.spill(batch.record):
                self._metrics.spilled.inc(batch.rows)
                self._mark_reported([batch])
            else:
                self._drop(batch.stream, batch.rows)

    @staticmethod
    def _mark_reported(sealed: Sequence[SealedBatch]) -> None:
        for batch in sealed:
            batch.stream.reported = max(batch.stream.reported, batch.dropped)

    def _drop(self, stream: RecordStream, rows: int) -> None:
        stream.dropped += rows
        self._metrics.dropped.inc(rows)

    def _drop_of(self, arm: RecordedArm, rows: int) -> None:
        self._drop(self._stream(arm), rows)

    def _stream(self, arm: RecordedArm) -> RecordStream:
        if (stream := self._streams.get(arm.model_id)) is None:
            stream = self._streams[arm.model_id] = RecordStream(arm.model_id, arm.model)
        return stream


def _is_small(buffers: Sequence[ColumnBuffer]) -> bool:
    columns = sum(buffer.columns for buffer in buffers)
    return columns <= _INLINE_COLUMNS and sum(buffer.size for buffer in buffers) <= _INLINE_BYTES

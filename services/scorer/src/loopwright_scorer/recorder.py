"""Inference records on their way out: buffered, sealed into batches, published or spilled.

An answer only appends a reference. Every sealed batch has the next sequence number of its (replica,
epoch, model) and keeps its event id, so a gap is a loss and a repeat is told as one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_common.codec import Outgoing
from loopwright_common.failpoints import failpoint
from loopwright_common.ids import derived_id
from loopwright_common.inference import InferenceLogged
from loopwright_scorer.measure import Replica
from loopwright_scorer.outgoing import outgoing
from loopwright_scorer.records import CallRecord, empty_table, to_tables
from loopwright_scorer.sender import Sender

_LARGEST_BATCH = 900_000
"""Bytes of a batch, below the topic's largest record with room for headers."""


class RecordMetrics:
    """What became of scored rows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.logged = self._rows(registry, "logged", "published at once")
        self.spilled = self._rows(registry, "spilled", "kept on disk until the bus is back")
        self.dropped = self._rows(registry, "dropped", "lost for want of room")
        self.waiting = Gauge(
            "loopwright_inference_spill_batches", "Batches waiting on disk.", registry=registry
        )

    @staticmethod
    def _rows(registry: CollectorRegistry, name: str, what: str) -> Counter:
        return Counter(
            f"loopwright_inference_rows_{name}", f"Scored rows {what}.", registry=registry
        )


@dataclass(slots=True)
class Stream:
    """One model's batches in this epoch."""

    model_id: str
    model: str
    sequence: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch with its identity, ready to send as often as it takes."""

    record: Outgoing
    rows: int
    stream: Stream


class Recorder:
    """Takes records without waiting; `run` sends them, `stop` sends the rest and the end marks.

    What does not leave then is spilled for the next process.
    """

    def __init__(
        self,
        sender: Sender,
        replica: Replica,
        metrics: RecordMetrics,
        *,
        every: float,
        rows: int,
        buffer: int,
    ) -> None:
        """`every` in seconds, `buffer` in bytes."""
        self._sender = sender
        self._replica = replica
        self._metrics = metrics
        self._every = every
        self._rows = rows
        self._room = self._buffer = buffer
        self._waiting: list[CallRecord] = []
        self._waiting_rows = 0
        self._streams: dict[str, Stream] = {}
        self._full = asyncio.Event()
        self._turn = asyncio.Lock()

    def append(self, record: CallRecord) -> None:
        """Keep the record, or count it as dropped when the buffer has no room."""
        if record.size > self._room:
            self._drop(self._stream(record.model_id, record.model), record.rows)
            return
        self._waiting.append(record)
        self._waiting_rows += record.rows
        self._room -= record.size
        if self._waiting_rows >= self._rows:
            self._full.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._full.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Send or spill everything taken so far."""
        async with self._turn:
            sealed = await self._seal()
            await self._send(sealed)

    async def stop(self) -> None:
        """Send the rest and mark the end of every stream, within a few seconds."""
        self._sender.hurry()
        await self.flush()
        async with self._turn:
            marks = [self._sealed(s, empty_table(), last=True) for s in self._streams.values()]
            await self._send(marks)

    async def _seal(self) -> list[Sealed]:
        records, self._waiting = self._waiting, []
        self._waiting_rows = 0
        self._full.clear()
        by_model: dict[str, list[CallRecord]] = {}
        for record in records:
            by_model.setdefault(record.model_id, []).append(record)
        sealed = [
            batch
            for model_id, own in by_model.items()
            for batch in await asyncio.to_thread(
                self._batches, self._stream(model_id, own[0].model), own
            )
        ]
        self._room += sum(record.size for record in records)
        failpoint("scorer.sealed")
        return sealed

    def _batches(self, stream: Stream, records: Sequence[CallRecord]) -> list[Sealed]:
        sealed = []
        for part in (p for table in to_tables(records) for p in _parts(table, self._rows)):
            if part.nbytes > _LARGEST_BATCH:
                self._drop(stream, part.num_rows)
            else:
                sealed.append(self._sealed(stream, part))
        return sealed

    def _sealed(self, stream: Stream, table: pa.Table, *, last: bool = False) -> Sealed:
        batch = InferenceLogged(
            model_id=stream.model_id,
            model=stream.model,
            replica=self._replica.name,
            epoch=self._replica.epoch,
            sequence=stream.sequence,
            dropped=stream.dropped,
            last=last,
            table=table,
        )
        identity = (self._replica.name, self._replica.epoch, stream.model_id, stream.sequence)
        stream.sequence += 1
        record = outgoing(
            batch,
            key=stream.model_id,
            subject=f"models/{stream.model}",
            event_id=derived_id("inference-logged", *identity),
        )
        return Sealed(record, table.num_rows, stream)

    async def _send(self, sealed: Sequence[Sealed]) -> None:
        if not sealed:
            return
        if await self._sender.publish([batch.record for batch in sealed]):
            self._metrics.logged.inc(sum(batch.rows for batch in sealed))
            return
        for batch in sealed:
            if await self._sender.spill(batch.record):
                self._metrics.spilled.inc(batch.rows)
            else:
                self._drop(batch.stream, batch.rows)

    def _drop(self, stream: Stream, rows: int) -> None:
        stream.dropped += rows
        self._metrics.dropped.inc(rows)

    def _stream(self, model_id: str, model: str) -> Stream:
        return self._streams.setdefault(model_id, Stream(model_id, model))


def _parts(table: pa.Table, rows: int) -> list[pa.Table]:
    """Slices of at most `rows` rows that fit a record; a single row is never cut."""
    if table.num_rows > 1 and (table.num_rows > 2 * rows or table.nbytes > _LARGEST_BATCH):
        half = table.num_rows // 2
        return _parts(table.slice(0, half), rows) + _parts(table.slice(half), rows)
    return [table]

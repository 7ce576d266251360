"""Records to Kafka: kept by all replicas in sync, in order per partition, or said not to be."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from loopwright_common import clock
from loopwright_common.bus.interface import TopicPartition
from loopwright_common.bus.kafka.cluster import CLOSE_SECONDS, Cluster, start
from loopwright_common.bus.topics import partition_of, topic_of
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.errors import UnavailableError

PUBLISH_SECONDS = 30.0
_BATCH_BYTES = 256 << 10
log = structlog.get_logger()


class KafkaProducer:
    """One idempotent producer at a time; one that failed is dropped with what it still held.

    Whoever published then publishes again, and consumers tell the repeated records by their ids.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._dropped: set[asyncio.Task[None]] = set()

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Return once all are kept; UnavailableError leaves it open how many are."""
        by_partition: dict[TopicPartition, list[OutgoingRecord]] = {}
        for record in records:
            number = partition_of(topic_of(record.topic), record.key)
            by_partition.setdefault(TopicPartition(record.topic, number), []).append(record)
        producer: AIOKafkaProducer | None = None
        try:
            async with self._cluster.reached(PUBLISH_SECONDS):
                producer = await self._started()
                await asyncio.gather(
                    *(
                        self._send(producer, partition, some)
                        for partition, some in by_partition.items()
                    )
                )
        except UnavailableError as error:
            if producer is not None:
                self._drop(producer, error)
            raise

    async def close(self) -> None:
        """Within a few seconds; what is not kept by then was never acknowledged."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._dropped.add(asyncio.create_task(_abandon(producer)))
        if self._dropped:
            await asyncio.wait(self._dropped, timeout=CLOSE_SECONDS)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._cluster.client,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=4 << 20,
                )
                try:
                    await start(producer)
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _send(
        self,
        producer: AIOKafkaProducer,
        partition: TopicPartition,
        records: Sequence[OutgoingRecord],
    ) -> None:
        """Batch by batch: the next is sent once the one before is kept, or the order may break."""
        topic, waiting = self._cluster.name(partition.topic), list(reversed(records))
        compacted = topic_of(partition.topic).compacted
        while waiting:
            batch = producer.create_batch()
            while waiting and _append(batch, waiting[-1], compacted):
                waiting.pop()
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition.partition))

    def _drop(self, producer: AIOKafkaProducer, error: UnavailableError) -> None:
        if producer is self._producer:
            log.warning("kafka.producer-dropped", error=str(error))
            self._producer = None
            task = asyncio.create_task(_abandon(producer))
            self._dropped.add(task)
            task.add_done_callback(self._dropped.discard)


def _append(batch: Any, record: OutgoingRecord, compacted: bool) -> bool:
    """Whether it found room; a batch that is empty takes a record of any size."""
    tombstone = compacted and not record.value
    added = batch.append(
        timestamp=int(clock.now().timestamp() * 1000),
        key=record.key.encode(),
        value=None if tombstone else record.value,
        headers=[(name, value.encode()) for name, value in record.headers.items()],
    )
    return added is not None


def _heard(waiter: asyncio.Future[Any]) -> None:
    if not waiter.cancelled():
        waiter.exception()


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop without sending what waits; the producer's own `stop` would first try to, for ever."""
    sending = producer._sender.sender_task
    sending.cancel()
    await asyncio.wait([sending])
    accumulator = producer._message_accumulator
    for batch in [*chain(*accumulator._batches.values()), *accumulator._pending_batches]:
        # Nobody waits for them any more, and what fails unheard is complained of.
        batch.future.add_done_callback(_heard)
        batch._drain_waiter.add_done_callback(_heard)
    accumulator.fail_all(ProducerClosed())
    await producer.stop()

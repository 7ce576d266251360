"""`Subscription` on Kafka: the database decides where it reads, whoever reads for it."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError

from loopwright_common.bus.interface import LoadPositions, Positions, TopicPartition
from loopwright_common.bus.kafka.cluster import CLOSE_SECONDS, Cluster, described
from loopwright_common.bus.kafka.consumer import KafkaConsumer
from loopwright_common.cloudevents import Record
from loopwright_common.errors import UnavailableError

_COMMIT_SECONDS = 5.0
_MOST_FAILED_COMMITS = 5
_UNSETTLED_SECONDS = 0.1
log = structlog.get_logger()


class KafkaSubscription:
    """A worker of a group, or a reader of everything; a consumer that stalls is replaced."""

    def __init__(
        self,
        cluster: Cluster,
        group: str | None,
        topics: Sequence[str],
        load_positions: LoadPositions,
    ) -> None:
        self.closed = False
        self._cluster = cluster
        self._group = group
        self._topics = topics
        self._load_positions = load_positions
        self._consumer: KafkaConsumer | None = None
        self._replaced = 0
        self._taken_up = -1
        self._offsets: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._failed_commits = 0

    def assigned(self) -> set[TopicPartition]:
        consumer = self._consumer
        return set(self._offsets) if consumer and self._knows_offsets_of(consumer) else set()

    async def fetch(self, limit: int, wait: float) -> list[Record]:
        consumer = self._consumer or await self._join()
        deadline = time.monotonic() + wait
        while True:
            await self._take_up_assignment(consumer)
            records = await self._read(consumer, limit, max(deadline - time.monotonic(), 0))
            if records or time.monotonic() >= deadline:
                return records

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if self._consumer is not None and partition in self.assigned():
            self._consumer.client.seek(self._cluster.to_kafka(partition), offset)
            self._offsets[partition] = offset

    async def has_reached(self, ends: Positions) -> bool:
        consumer = self._consumer
        if consumer is None or not self._knows_offsets_of(consumer):
            return not ends
        mine = [
            self._cluster.to_kafka(partition) for partition in ends.keys() & self._offsets.keys()
        ]
        wanted = [ends[self._cluster.from_kafka(partition)] for partition in mine]
        try:
            async with self._cluster.reached():
                there = [await consumer.client.position(partition) for partition in mine]
        except UnavailableError:
            return False
        return all(position >= end for position, end in zip(there, wanted, strict=True))

    async def acknowledge(self, positions: Positions) -> None:
        self._done.update(positions)
        if self._group is not None and (self._committing is None or self._committing.done()):
            self._committing = asyncio.create_task(self._commit())

    async def close(self) -> None:
        self.closed = True
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=CLOSE_SECONDS)
            self._committing.cancel()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait([consumer.stop()], timeout=CLOSE_SECONDS)

    # ---- the consumer --------------------------------------------------------------------------

    async def _join(self) -> KafkaConsumer:
        consumer = KafkaConsumer(self._cluster, self._group)
        try:
            async with self._cluster.reached():
                await consumer.start(self._topics)
        except BaseException:
            consumer.stop()
            raise
        self._consumer, self._taken_up, self._failed_commits = consumer, -1, 0
        return consumer

    def _replace(self, consumer: KafkaConsumer, why: str) -> UnavailableError:
        """Take another at the next fetch; the error to raise until then."""
        self._consumer = None
        self._replaced += 1
        consumer.stop()
        log.warning("kafka.consumer-replaced", group=self._group, topics=list(self._topics),
                    why=why, times=self._replaced)  # fmt: skip
        return UnavailableError(f"{self._cluster}: {why}")

    def _knows_offsets_of(self, consumer: KafkaConsumer) -> bool:
        return consumer.settled and self._taken_up == consumer.changes

    async def _take_up_assignment(self, consumer: KafkaConsumer) -> None:
        while consumer.settled and self._taken_up != consumer.changes:
            changes = consumer.changes
            share = {
                self._cluster.from_kafka(partition) for partition in consumer.client.assignment()
            }
            stored = dict(await self._load_positions(share))
            if self._group is None:
                stored |= self._offsets
            offsets = await self._offsets_in_log(consumer, share, stored)
            if changes == consumer.changes:
                for partition, offset in offsets.items():
                    consumer.client.seek(self._cluster.to_kafka(partition), offset)
                self._offsets, self._taken_up = offsets, changes

    async def _offsets_in_log(
        self, consumer: KafkaConsumer, share: set[TopicPartition], stored: Positions
    ) -> dict[TopicPartition, int]:
        """Where to go on; a position that the log no longer or never had starts over, told."""
        there = [self._cluster.to_kafka(partition) for partition in share]
        async with self._cluster.reached():
            firsts = await consumer.client.beginning_offsets(there)
            ends = await consumer.client.end_offsets(there)
        offsets = {}
        for partition in share:
            first, end = (known[self._cluster.to_kafka(partition)] for known in (firsts, ends))
            wanted = stored.get(partition, 0)
            offsets[partition] = wanted if first <= wanted <= end else first
            if wanted and wanted != offsets[partition]:
                log.error("kafka.position-not-in-log", group=self._group, topic=partition.topic,
                          partition=partition.partition, position=wanted, first=first, end=end,
                          going_on_at=first)  # fmt: skip
        return offsets

    # ---- records -----------------------------------------------------------------------------

    async def _read(self, consumer: KafkaConsumer, limit: int, wait: float) -> list[Record]:
        known = self._knows_offsets_of(consumer)
        if self._failed_commits >= _MOST_FAILED_COMMITS:
            raise self._replace(consumer, "the group takes no positions from it")
        try:
            received = await consumer.poll(limit, wait if known else min(wait, _UNSETTLED_SECONDS))
        except KafkaError as error:
            raise self._replace(consumer, described(error)) from error
        if not received and (why := consumer.stall_reason()):
            raise self._replace(consumer, why)
        if not (known and self._knows_offsets_of(consumer)):
            return []
        records = [self._cluster.record(each) for each in received]
        for record in records:
            self._offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        return records

    async def _commit(self) -> None:
        """A copy for lag tools; nobody waits for it and nothing depends on it."""
        while self._done and self._consumer is not None:
            done, self._done = self._done, {}
            offsets = {self._cluster.to_kafka(p): done[p] for p in done.keys() & self.assigned()}
            try:
                async with self._cluster.reached(_COMMIT_SECONDS):
                    if offsets:
                        await self._consumer.client.commit(offsets)
                self._failed_commits = 0
            except UnavailableError as error:
                self._failed_commits += 1
                log.info("kafka.not-committed", group=self._group, error=str(error))

"""`EventBus` on Kafka."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from loopwright_common.bus.interface import LoadPositions, Positions, Subscription
from loopwright_common.bus.kafka.cluster import Cluster
from loopwright_common.bus.kafka.consumer import metadata_consumer
from loopwright_common.bus.kafka.producer import KafkaProducer
from loopwright_common.bus.kafka.subscription import KafkaSubscription
from loopwright_common.bus.kafka.topic_admin import check_topics
from loopwright_common.bus.topics import dead_letters_of, partitions_of, refuse_too_large, topic_of
from loopwright_common.cloudevents import OutgoingRecord


class KafkaBus:
    """`EventBus` on a cluster; connects when first needed, and anew whenever it must.

    A topic is looked at once before it is used: UnavailableError where it is missing, InvalidError
    where it has another number of partitions than declared.
    """

    def __init__(self, cluster: Cluster) -> None:
        # While a broker is away it writes dozens of lines a second; ours say so once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._cluster = cluster
        self._publisher = KafkaProducer(cluster)
        self._subscriptions: set[KafkaSubscription] = set()
        self._checked: set[str] = set()

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        if not records:
            return
        for record in records:
            refuse_too_large(record)
        await self._check(record.topic for record in records)
        await self._publisher.publish(records)

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        await self._check([*topics, *([dead_letters_of(group).name] if group else [])])
        subscription = KafkaSubscription(self._cluster, group, topics, load_positions)
        closed = {each for each in self._subscriptions if each.closed}
        self._subscriptions = {*(self._subscriptions - closed), subscription}
        return subscription

    async def ends(self, topics: Sequence[str]) -> Positions:
        await self._check(topics)
        partitions = [self._cluster.to_kafka(partition) for partition in partitions_of(topics)]
        async with self._cluster.reached(), metadata_consumer(self._cluster) as consumer:
            ends = await consumer.end_offsets(partitions)
        return {
            self._cluster.from_kafka(partition): end for partition, end in ends.items() if end > 0
        }

    async def positions_at(self, topics: Sequence[str], at: datetime) -> Positions:
        await self._check(topics)
        partitions = [self._cluster.to_kafka(partition) for partition in partitions_of(topics)]
        milliseconds = int(at.timestamp() * 1000)
        async with self._cluster.reached(), metadata_consumer(self._cluster) as consumer:
            firsts = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
            ends = await consumer.end_offsets(partitions)
        return {
            self._cluster.from_kafka(partition): firsts[partition].offset
            if firsts[partition]
            else end
            for partition, end in ends.items()
        }

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._subscriptions))
        await self._publisher.close()

    async def _check(self, topics: Iterable[str]) -> None:
        """That the topics are there as declared, once for each."""
        if unknown := sorted(set(topics) - self._checked):
            await check_topics(self._cluster, [topic_of(name) for name in unknown])
            self._checked.update(unknown)

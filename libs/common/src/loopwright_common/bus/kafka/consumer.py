"""One aiokafka consumer, from its start to its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as KafkaPartition

from loopwright_common.bus.kafka.cluster import Cluster, start
from loopwright_common.bus.topics import partitions_of

SILENCE_SECONDS = 20.0
_JOIN_SECONDS = 45.0
log = structlog.get_logger()
_stopping: set[asyncio.Task[None]] = set()


class KafkaConsumer:
    """A consumer with an assignment that may change at any await.

    `changes` grows with each change; what was fetched under another number is not to be used.
    """

    def __init__(self, cluster: Cluster, group: str | None) -> None:
        self._cluster = cluster
        self.client = _new_client(cluster, group)
        self.changes = 0
        self.settled = group is None
        """Whether there is an assignment, and not one about to be taken away."""
        self._waited = 0.0
        self._answers: dict[KafkaPartition, tuple[int | None, float]] = {}
        self._unsettled_at = time.monotonic()

    async def start(self, topics: Sequence[str]) -> None:
        """Ask for a share of the topics, or without a group take all of them."""
        await start(self.client)
        if self.settled:
            self.client.assign(
                [self._cluster.to_kafka(partition) for partition in partitions_of(topics)]
            )
        else:
            names = [self._cluster.name(topic) for topic in topics]
            self.client.subscribe(names, listener=_Listener(self))

    def assignment_changed(self, settled: bool) -> None:
        self.changes += 1
        self.settled = settled
        self._unsettled_at = time.monotonic()
        self._answers.clear()

    async def poll(self, limit: int, wait: float) -> list[ConsumerRecord]:
        """Up to `limit` records within `wait` seconds, in order per partition.

        A position that is not in the log is a change of the assignment.
        """
        started = time.monotonic()
        try:
            # The consumer waits without end for an assignment that is being made.
            async with asyncio.timeout(wait + 1):
                fetched = await self.client.getmany(timeout_ms=int(wait * 1000), max_records=limit)
        except TimeoutError:
            fetched = {}
        except NoOffsetForPartitionError:
            return []  # it was quicker than whoever knows the positions
        except OffsetOutOfRangeError:
            self.changes += 1  # positions are compared with the log when taken up
            return []
        self._waited += time.monotonic() - started
        return [record for records in fetched.values() for record in records]

    def stall_reason(self) -> str | None:
        """Why this consumer seems to have stopped, as aiokafka's sometimes do without a word.

        Brokers answer every fetch within half a second, with or without records.
        """
        if not self.settled:
            waited = time.monotonic() - self._unsettled_at
            return "no assignment came" if waited > _JOIN_SECONDS else None
        for partition in self.client.assignment():
            answer = self.client.last_poll_timestamp(partition)
            last, since = self._answers.get(partition, (None, self._waited))
            if answer != last or partition not in self._answers:
                self._answers[partition] = (answer, self._waited)
            elif self._waited - since > SILENCE_SECONDS:
                return f"no answer about {partition.topic}/{partition.partition}"
        return None

    def stop(self) -> "asyncio.Task[None]":
        """Leave the group and disconnect, in the background: it may take as long as a request."""
        task = asyncio.create_task(_stop(self.client))
        _stopping.add(task)
        task.add_done_callback(_stopping.discard)
        return task


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002
        self._consumer.assignment_changed(settled=False)

    def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
        self._consumer.assignment_changed(settled=True)


@contextlib.asynccontextmanager
async def metadata_consumer(cluster: Cluster) -> AsyncGenerator[AIOKafkaConsumer, None]:
    """A consumer for a question about offsets."""
    consumer = _new_client(cluster, None)
    try:
        await start(consumer)
        yield consumer
    finally:
        await _stop(consumer)


def _new_client(cluster: Cluster, group: str | None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **cluster.client,
        group_id=None if group is None else cluster.name(group),
        enable_auto_commit=False,
        # Not "earliest": a position that is gone is said to be, and decided upon here.
        auto_offset_reset="none",
        isolation_level="read_committed",
        # Its sticky assignor keeps the assignment of all groups of a process in one place.
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=10_000,
        heartbeat_interval_ms=1_000,
        rebalance_timeout_ms=10_000,
        max_poll_interval_ms=300_000,
        fetch_max_wait_ms=500,
        fetch_min_bytes=1,
        fetch_max_bytes=16 << 20,
        max_partition_fetch_bytes=4 << 20,
        check_crcs=True,
        exclude_internal_topics=True,
    )


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        await consumer.stop()
    except Exception as error:  # noqa: BLE001  (nothing is asked of it any more)
        log.debug("kafka.consumer-not-stopped", error=repr(error))

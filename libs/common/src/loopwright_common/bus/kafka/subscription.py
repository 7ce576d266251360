"""`Subscription` on Kafka: the database decides where it reads, whoever reads for it."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError

from loopwright_common.bus.interface import LoadPositions, Positions, TopicPartition
from loopwright_common.bus.kafka.cluster import CLOSE_SECONDS, Cluster, described
from loopwright_common.bus.kafka.consumer import KafkaConsumer
from loopwright_common.cloudevents.codec import Record
from loopwright_common.errors import UnavailableError

_COMMIT_SECONDS = 5.0
_MOST_FAILED_COMMITS = 5
_UNSETTLED_SECONDS = 0.1
log = structlog.get_logger()


class KafkaSubscription:
    """A worker of a group, or a reader of everything; a member that stalls is replaced."""

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
        self._member: KafkaConsumer | None = None
        self._replaced = 0
        self._taken_up = -1
        self._places: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._failed_commits = 0

    def assigned(self) -> set[TopicPartition]:
        member = self._member
        return set(self._places) if member and self._knows_places_of(member) else set()

    async def fetch(self, most: int, wait: float) -> list[Record]:
        member = self._member or await self._join()
        deadline = time.monotonic() + wait
        while True:
            await self._take_up_assignment(member)
            records = await self._read(member, most, max(deadline - time.monotonic(), 0))
            if records or time.monotonic() >= deadline:
                return records

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if self._member is not None and partition in self.assigned():
            self._member.consumer.seek(self._cluster.there(partition), offset)
            self._places[partition] = offset

    async def has_reached(self, ends: Positions) -> bool:
        member = self._member
        if member is None or not self._knows_places_of(member):
            return not ends
        mine = [self._cluster.there(place) for place in ends.keys() & self._places.keys()]
        wanted = [ends[self._cluster.here(place)] for place in mine]
        try:
            async with self._cluster.reached():
                there = [await member.consumer.position(place) for place in mine]
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
        member, self._member = self._member, None
        if member is not None:
            await asyncio.wait([member.stop()], timeout=CLOSE_SECONDS)

    # ---- the member --------------------------------------------------------------------------

    async def _join(self) -> KafkaConsumer:
        member = KafkaConsumer(self._cluster, self._group)
        try:
            async with self._cluster.reached():
                await member.start(self._topics)
        except BaseException:
            member.stop()
            raise
        self._member, self._taken_up, self._failed_commits = member, -1, 0
        return member

    def _replace(self, member: KafkaConsumer, why: str) -> UnavailableError:
        """Take another at the next fetch; the error to raise until then."""
        self._member = None
        self._replaced += 1
        member.stop()
        log.warning("kafka.consumer-replaced", group=self._group, topics=list(self._topics),
                    why=why, times=self._replaced)  # fmt: skip
        return UnavailableError(f"{self._cluster}: {why}")

    def _knows_places_of(self, member: KafkaConsumer) -> bool:
        return member.settled and self._taken_up == member.changes

    async def _take_up_assignment(self, member: KafkaConsumer) -> None:
        while member.settled and self._taken_up != member.changes:
            changes = member.changes
            share = {self._cluster.here(place) for place in member.consumer.assignment()}
            stored = dict(await self._load_positions(share))
            if self._group is None:
                stored |= self._places
            places = await self._places_in_log(member, share, stored)
            if changes == member.changes:
                for place, offset in places.items():
                    member.consumer.seek(self._cluster.there(place), offset)
                self._places, self._taken_up = places, changes

    async def _places_in_log(
        self, member: KafkaConsumer, share: set[TopicPartition], stored: Positions
    ) -> dict[TopicPartition, int]:
        """Where to go on; a position that the log no longer or never had starts over, told."""
        there = [self._cluster.there(place) for place in share]
        async with self._cluster.reached():
            firsts = await member.consumer.beginning_offsets(there)
            ends = await member.consumer.end_offsets(there)
        places = {}
        for place in share:
            first, end = (offsets[self._cluster.there(place)] for offsets in (firsts, ends))
            wanted = stored.get(place, 0)
            places[place] = wanted if first <= wanted <= end else first
            if wanted and wanted != places[place]:
                log.error("kafka.position-not-in-log", group=self._group, topic=place.topic,
                          partition=place.partition, position=wanted, first=first, end=end,
                          going_on_at=first)  # fmt: skip
        return places

    # ---- records -----------------------------------------------------------------------------

    async def _read(self, member: KafkaConsumer, most: int, wait: float) -> list[Record]:
        known = self._knows_places_of(member)
        if self._failed_commits >= _MOST_FAILED_COMMITS:
            raise self._replace(member, "the group takes no positions from it")
        try:
            found = await member.poll(most, wait if known else min(wait, _UNSETTLED_SECONDS))
        except KafkaError as error:
            raise self._replace(member, described(error)) from error
        if not found and (why := member.silent()):
            raise self._replace(member, why)
        if not (known and self._knows_places_of(member)):
            return []
        records = [self._cluster.record(each) for each in found]
        for record in records:
            self._places[TopicPartition(record.topic, record.partition)] = record.offset + 1
        return records

    async def _commit(self) -> None:
        """A copy for lag tools; nobody waits for it and nothing depends on it."""
        while self._done and self._member is not None:
            done, self._done = self._done, {}
            offsets = {self._cluster.there(p): done[p] for p in done.keys() & self.assigned()}
            try:
                async with self._cluster.reached(_COMMIT_SECONDS):
                    if offsets:
                        await self._member.consumer.commit(offsets)
                self._failed_commits = 0
            except UnavailableError as error:
                self._failed_commits += 1
                log.info("kafka.not-committed", group=self._group, error=str(error))

"""`/v1/consumers`: how far each consumer is, and setting one back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from loopwright_common.bus import TopicPartition
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer
from loopwright_common.delivery.rewind import OffsetReset, rebuild, reread, stored_positions
from loopwright_common.errors import InvalidError, NotFoundError


class PartitionOut(BaseModel):
    """`position` is the next offset to handle, `end` the one after the last; `lag` lies between."""

    topic: str
    partition: int
    position: int
    end: int
    lag: int


class ConsumerOut(BaseModel):
    """`trouble` is why it does not get on, as far as this replica knows; `lag` counts offsets."""

    name: str
    topics: list[str]
    trouble: str | None
    lag: int
    parked_keys: int
    dead_letters: int
    last_handled_at: datetime | None
    generation: int
    can_be_rebuilt: bool
    partitions: list[PartitionOut]


class ConsumerListOut(BaseModel):
    items: list[ConsumerOut]
    next: None = None


class RereadIn(BaseModel):
    """From a time, from an offset of one partition, or (with neither) all that the topic holds."""

    model_config = ConfigDict(extra="forbid")
    topic: Annotated[str, Field(max_length=255)]
    since: AwareDatetime | None = None
    partition: Annotated[int | None, Field(ge=0, le=10_000)] = None
    offset: Annotated[int | None, Field(ge=0, le=2**62)] = None

    @model_validator(mode="after")
    def _is_one_wish(self) -> Self:
        if (self.partition is None) != (self.offset is None):
            raise ValueError("offset and partition belong together")
        if self.since is not None and self.offset is not None:
            raise ValueError("give since or offset, not both")
        return self


class OffsetResetOut(BaseModel):
    """The next offset to handle, as it was and as it is now."""

    topic: str
    partition: int
    was: int
    now: int


class RewoundOut(BaseModel):
    """What is read again; members take it up within seconds."""

    consumer: str
    resets: list[OffsetResetOut]


def add_consumer_routes(
    router: APIRouter, database: Database, consumers: Sequence[Consumer]
) -> None:
    named = {consumer.name: consumer for consumer in consumers}

    @router.get("/consumers")
    async def list_consumers() -> ConsumerListOut:
        """Where every consumer of this service stands."""
        return ConsumerListOut(items=[await _shown(consumer) for consumer in consumers])

    @router.post("/consumers/{name}/reread")
    async def reread_topic(name: str, wanted: RereadIn) -> RewoundOut:
        """Read records again: holes are filled, and nothing handled before is repeated."""
        consumer = _known(named, name)
        if wanted.topic not in consumer.topics:
            reason = f"{name} reads {', '.join(consumer.topics)}, not {wanted.topic!r}"
            raise InvalidError(reason, field="topic")
        targets = await _targets(database, consumer, wanted)
        async with database.unit_of_work() as uow:
            back = await reread(uow, name, targets)
        return _went_back(consumer, back)

    @router.post("/consumers/{name}/rebuild")
    async def rebuild_consumer(name: str) -> RewoundOut:
        """Build its state anew from all that its topics hold; nothing is emitted twice."""
        consumer = _known(named, name)
        async with database.unit_of_work() as uow:
            back = await rebuild(uow, consumer)
        return _went_back(consumer, back)


def _known(named: Mapping[str, Consumer], name: str) -> Consumer:
    if name not in named:
        raise NotFoundError(f"no consumer {name!r}; there are {', '.join(sorted(named))}")
    return named[name]


async def _targets(
    database: Database, consumer: Consumer, wanted: RereadIn
) -> Mapping[TopicPartition, int]:
    if wanted.since is not None:
        return await consumer.positions_at(wanted.topic, wanted.since)
    if wanted.partition is not None and wanted.offset is not None:
        return {TopicPartition(wanted.topic, wanted.partition): wanted.offset}
    async with database.read() as connection:
        stored = await stored_positions(connection, consumer.name)
    return dict.fromkeys((partition for partition in stored if partition.topic == wanted.topic), 0)


def _went_back(consumer: Consumer, back: Sequence[OffsetReset]) -> RewoundOut:
    consumer.wake()
    moved = [
        OffsetResetOut(**each.partition._asdict(), was=each.was, now=each.now) for each in back
    ]
    return RewoundOut(consumer=consumer.name, resets=moved)


async def _shown(consumer: Consumer) -> ConsumerOut:
    seen = await consumer.status()
    lag = seen.lag()
    partitions = [
        PartitionOut(
            **partition._asdict(),
            position=seen.reached.get(partition, 0),
            end=end,
            lag=lag[partition],
        )
        for partition, end in sorted(seen.ends.items())
    ]
    return ConsumerOut(
        name=consumer.name,
        topics=consumer.topics,
        trouble=consumer.trouble(),
        lag=sum(lag.values()),
        parked_keys=seen.parked_keys,
        dead_letters=seen.dead_letters,
        last_handled_at=seen.last_handled_at,
        generation=seen.generation,
        can_be_rebuilt=consumer.reset is not None,
        partitions=partitions,
    )

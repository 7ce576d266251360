"""Setting a consumer back: to fill holes, or to build its state anew.

Both change the stored positions and take every member's hold on them away; members notice when they
next store, or within seconds, drop what they have in hand and go on from where they were set.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.bus import Positions, TopicPartition
from loopwright_common.database import UnitOfWork, positions
from loopwright_common.delivery import retry_queue
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.errors import ConflictError, RefusedError


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """A partition that is read again, from one offset up to where it was and beyond."""

    partition: TopicPartition
    was: int
    now: int


async def stored_positions(connection: AsyncConnection, consumer: str) -> Positions:
    query = sa.select(positions.c.topic, positions.c.partition, positions.c.next_offset)
    rows = await connection.execute(query.where(positions.c.consumer == consumer))
    return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}


async def reread(
    uow: UnitOfWork, consumer: str, targets: Mapping[TopicPartition, int]
) -> list[OffsetReset]:
    """Read again from these offsets; what was handled has no second effect.

    A position never moves forward by this: that would lose events.
    """
    held = await _hold(uow, consumer)
    back = [
        OffsetReset(partition, held[partition], offset)
        for partition, offset in sorted(targets.items())
        if offset < held.get(partition, 0)
    ]
    for each in back:
        await uow.connection.execute(
            sa.update(positions)
            .where(
                positions.c.consumer == consumer,
                positions.c.topic == each.partition.topic,
                positions.c.partition == each.partition.partition,
            )
            .values(next_offset=each.now, owner="")
        )
    return back


async def rebuild(uow: UnitOfWork, consumer: Consumer) -> list[OffsetReset]:
    """Clear what the consumer derived from its topics, and read them again from their start.

    All is handled once more, in a new generation; what was handled before emits nothing.
    ConflictError while records are parked, RefusedError for one that keeps more than that.
    """
    if consumer.reset is None:
        raise RefusedError(
            f"{consumer.name} cannot be rebuilt: what it keeps is more than its topics say; "
            "a reread fills holes without repeating anything"
        )
    held = await _hold(uow, consumer.name)
    if waiting := await retry_queue.count_records(uow.connection, [consumer.name]):
        raise ConflictError(
            f"{waiting} records of {consumer.name} wait for another try; "
            "rebuild it when they are handled, or dead letters"
        )
    newest = sa.select(sa.func.max(positions.c.generation) + 1)
    generation = newest.where(positions.c.consumer == consumer.name).scalar_subquery()
    await uow.connection.execute(
        sa.update(positions)
        .where(positions.c.consumer == consumer.name)
        .values(next_offset=0, owner="", generation=generation)
    )
    await consumer.reset(uow)
    return [
        OffsetReset(partition, offset, 0) for partition, offset in sorted(held.items()) if offset
    ]


async def _hold(uow: UnitOfWork, consumer: str) -> dict[TopicPartition, int]:
    """The stored positions; nobody stores until this commits."""
    key = (positions.c.topic, positions.c.partition)
    query = sa.select(*key, positions.c.next_offset).where(positions.c.consumer == consumer)
    rows = await uow.connection.execute(query.order_by(*key).with_for_update())
    return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

"""What every bus promises to those who publish and read; run over each implementation."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus, Positions, TopicPartition, from_start
from loopwright_common.bus.topics import partition_of, topic_of
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.errors import InvalidError, TooLargeError
from tests.common.bus_harness import (
    TABLE,
    TOPIC,
    BusAddress,
    by_key,
    collect,
    numbered,
    read_everything,
    record,
    values,
)


async def test_records_of_a_key_keep_their_order(any_bus: EventBus) -> None:
    for first in range(0, 200, 20):
        await any_bus.publish(numbered(20, first=first))

    read = by_key(await read_everything(any_bus))

    assert read == {f"key-{n}": list(range(n, 200, 5)) for n in range(5)}


async def test_publishers_at_once_do_not_mix_up_the_order_of_their_keys(any_bus: EventBus) -> None:
    async def publish(key: str) -> None:
        for n in range(10):
            await any_bus.publish([record(key, str(n).encode())])

    await asyncio.gather(*(publish(f"key-{n}") for n in range(8)))

    assert by_key(await read_everything(any_bus)) == {f"key-{n}": list(range(10)) for n in range(8)}


async def test_a_key_lies_in_the_same_partition_on_every_bus(any_bus: EventBus) -> None:
    keys = [f"models/{n}" for n in range(20)]
    await any_bus.publish([record(key, b"1") for key in keys])

    read = await read_everything(any_bus)

    assert {found.key: found.partition for found in read} == {
        key: partition_of(topic_of(TOPIC), key) for key in keys
    }


async def test_a_record_arrives_as_it_was_sent(any_bus: EventBus) -> None:
    headers = {"ce_id": "1", "ce_subject": "models/größe", "empty": ""}
    before = clock.now() - timedelta(milliseconds=1)
    await any_bus.publish([OutgoingRecord(TOPIC, "schlüssel", headers, bytes(range(256)))])

    (found,) = await read_everything(any_bus)

    assert (found.topic, found.key, found.headers) == (TOPIC, "schlüssel", headers)
    assert found.value == bytes(range(256))
    assert before <= found.time <= clock.now()


async def test_empty_and_large_records_arrive_whole(any_bus: EventBus) -> None:
    large = b"x" * (1 << 20)
    await any_bus.publish([record("a", b""), record("a", large), record("a", b"y" * 300_000)])

    assert values(await read_everything(any_bus)) == [b"", large, b"y" * 300_000]


async def test_an_empty_record_of_a_table_arrives_empty(any_bus: EventBus) -> None:
    await any_bus.publish([record("a", b"1", TABLE), record("a", b"", TABLE)])

    assert values(await read_everything(any_bus, TABLE))[-1] == b""


async def test_a_record_over_the_limit_is_refused_and_nothing_is_kept(any_bus: EventBus) -> None:
    with pytest.raises(TooLargeError, match="code-changed"):
        await any_bus.publish([record("a", b"fine"), record("a", b"x" * ((1 << 20) + 1))])

    assert await read_everything(any_bus) == []


async def test_publishing_nothing_is_nothing(any_bus: EventBus) -> None:
    await any_bus.publish([])

    assert await any_bus.ends([TOPIC]) == {}


async def test_a_topic_that_is_not_declared_is_refused(any_bus: EventBus) -> None:
    with pytest.raises(InvalidError, match="no topic 'weather'"):
        await any_bus.publish([record("a", b"1", "weather")])


async def test_a_waiting_reader_wakes_at_once(any_bus: EventBus) -> None:
    subscription = await any_bus.subscribe(None, [TOPIC], from_start)
    assert await subscription.fetch(10, 0.1) == []
    waiting = asyncio.create_task(subscription.fetch(10, 60))
    await asyncio.sleep(0.01)
    await any_bus.publish([record("a", b"1")])

    async with asyncio.timeout(120):
        assert values(await waiting) == [b"1"]


async def test_seek_goes_back_and_forth(any_bus: EventBus) -> None:
    await any_bus.publish([record("a", b"1"), record("a", b"2"), record("a", b"3")])
    subscription = await any_bus.subscribe(None, [TOPIC], from_start)
    first, second, third = await collect(subscription, 3)
    place = TopicPartition(first.topic, first.partition)

    subscription.seek(place, second.offset)
    assert await collect(subscription, 2) == [second, third]
    subscription.seek(place, first.offset)
    assert await collect(subscription, 1) == [first]
    subscription.seek(place, third.offset)
    assert await collect(subscription, 1) == [third]


async def test_a_reader_may_start_at_a_time(any_bus: EventBus) -> None:
    await any_bus.publish(numbered(30))
    moment = await between_records()
    await any_bus.publish(numbered(10, first=30))
    positions = await any_bus.positions_at([TOPIC], moment)

    async def load(_partitions: set[TopicPartition]) -> Positions:
        return positions

    subscription = await any_bus.subscribe(None, [TOPIC], load)

    assert sorted(int(v) for v in values(await collect(subscription, 10))) == list(range(30, 40))
    assert await subscription.has_reached(await any_bus.ends([TOPIC]))


async def test_a_time_before_and_after_everything_is_the_start_and_the_end(
    any_bus: EventBus,
) -> None:
    await any_bus.publish(numbered(30))
    moment = await between_records()
    ends = await any_bus.ends([TOPIC])

    first = await any_bus.positions_at([TOPIC], datetime(2020, 1, 1, tzinfo=UTC))
    after = await any_bus.positions_at([TOPIC], moment)

    read = await read_everything(any_bus)
    for place in ends:
        offsets = [r.offset for r in read if r.partition == place.partition]
        assert first[place] <= min(offsets)
        assert after[place] >= ends[place]


async def test_the_ends_are_after_the_last_records(any_bus: EventBus) -> None:
    assert await any_bus.ends([TOPIC, TABLE]) == {}
    await any_bus.publish([record("a", b"1"), record("a", b"2"), record("b", b"3", TABLE)])

    ends = await any_bus.ends([TOPIC, TABLE])

    read = [*await read_everything(any_bus), *await read_everything(any_bus, TABLE)]
    assert ends == {TopicPartition(r.topic, r.partition): r.offset + 1 for r in read}


async def test_what_was_published_survives_a_restart(bus_address: BusAddress) -> None:
    before = await bus_address.open()
    await before.publish(numbered(20))
    await before.close()

    after = await bus_address.open()
    assert len(await read_everything(after)) == 20
    await after.publish(numbered(20, first=20))
    assert by_key(await read_everything(after))["key-0"] == list(range(0, 40, 5))
    await after.close()


async def between_records() -> datetime:
    """A moment after what was published and before what will be, in whole milliseconds."""
    await asyncio.sleep(0.02)
    moment = clock.now()
    await asyncio.sleep(0.02)
    return moment

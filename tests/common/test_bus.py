"""What every bus promises; run over each implementation."""

import asyncio
from pathlib import Path

import pytest

from loopwright_common.bus import TopicPartition, from_start
from loopwright_common.codec import Outgoing
from loopwright_common.errors import TooLargeError, UnavailableError
from loopwright_common.sqlite_log import SqliteLog


def record(key: str, value: bytes, topic: str = "code-changed") -> Outgoing:
    return Outgoing(topic, key, {"ce_id": key}, value)


async def read_everything(bus: SqliteLog, topic: str = "code-changed") -> list[bytes]:
    subscription = await bus.subscribe(None, [topic], from_start)
    values = []
    while records := await subscription.fetch(3, 0):
        values += [found.value for found in records]
    return values


async def test_records_of_a_key_keep_their_order(bus: SqliteLog) -> None:
    await bus.publish([record("a", str(n).encode()) for n in range(10)])

    assert await read_everything(bus) == [str(n).encode() for n in range(10)]


async def test_empty_and_large_records_arrive_whole(bus: SqliteLog) -> None:
    large = b"x" * (1 << 20)
    await bus.publish([record("a", b""), record("a", large)])

    assert await read_everything(bus) == [b"", large]


async def test_a_record_over_the_topic_limit_is_refused_and_nothing_is_kept(bus: SqliteLog) -> None:
    with pytest.raises(TooLargeError, match="code-changed"):
        await bus.publish([record("a", b"fine"), record("a", b"x" * ((1 << 20) + 1))])

    assert await read_everything(bus) == []


async def test_a_waiting_reader_wakes_at_once(bus: SqliteLog) -> None:
    subscription = await bus.subscribe(None, ["code-changed"], from_start)
    waiting = asyncio.create_task(subscription.fetch(10, 30))
    await asyncio.sleep(0.01)
    await bus.publish([record("a", b"1")])

    async with asyncio.timeout(5):
        assert [found.value for found in await waiting] == [b"1"]


async def test_seek_goes_back_to_an_offset(bus: SqliteLog) -> None:
    await bus.publish([record("a", b"1"), record("a", b"2")])
    subscription = await bus.subscribe(None, ["code-changed"], from_start)
    first, second = await subscription.fetch(10, 0)

    subscription.seek(TopicPartition(second.topic, second.partition), second.offset)

    assert await subscription.fetch(10, 0) == [second]
    assert first.offset < second.offset


async def test_what_was_published_survives_a_restart(tmp_path: Path) -> None:
    before = await SqliteLog.open(tmp_path)
    await before.publish([record("a", b"1")])
    await before.close()

    after = await SqliteLog.open(tmp_path)
    assert await read_everything(after) == [b"1"]
    ends = await after.ends(["code-changed"])
    assert list(ends.values()) == [2]
    await after.close()


async def test_a_second_process_cannot_open_the_log(bus: SqliteLog, tmp_path: Path) -> None:
    await bus.publish([record("a", b"1")])
    with pytest.raises(UnavailableError, match="locked"):
        await SqliteLog.open(tmp_path / "bus")


async def test_compaction_keeps_the_latest_record_of_each_key(bus: SqliteLog) -> None:
    topic = "routes-changed"
    await bus.publish(
        [record(key, value, topic) for key, value in [("a", b"1"), ("b", b"2"), ("a", b"3")]]
    )

    assert await bus.prune() == 1
    assert sorted(await read_everything(bus, topic)) == [b"2", b"3"]

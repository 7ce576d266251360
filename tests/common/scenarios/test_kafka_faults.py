"""A broker that dies, hangs or is not there yet, under publishers, groups and tables."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.kafka import consumer, producer
from loopwright_common.bus.topics import dead_letters_of, topic_of
from loopwright_common.cloudevents.codec import Record
from loopwright_common.errors import UnavailableError
from loopwright_common.events import RoutesChanged
from loopwright_common.process.declare_topics import ensure_topics
from tests.common.bus_harness import (
    GROUP,
    TABLE,
    TOPIC,
    BusAddress,
    Group,
    by_key,
    collect,
    no_positions,
    numbered,
    read_everything,
    record,
    until,
)
from tests.engines import MortalKafka

EVENTS = 2000
KEYS = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Generator[MortalKafka, None, None]:
    running = MortalKafka(tmp_path_factory.mktemp("broker"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def bus(broker: MortalKafka) -> AsyncGenerator[EventBus, None]:
    place = BusAddress(broker.url, f"{uuid.uuid4().hex[:8]}.")
    topics = [topic_of(TOPIC), topic_of(TABLE), dead_letters_of(GROUP)]
    await ensure_topics(place.url, place.prefix, topics)
    bus = await place.open()
    yield bus
    await bus.close()


@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_while_the_broker_dies_three_times(
    bus: EventBus, broker: MortalKafka
) -> None:
    group = Group()
    async with group.member(bus), group.member(bus):
        publishing = asyncio.create_task(publish_slowly(bus))
        for _ in range(3):
            await until(lambda: len(values_of(group)) > 10)
            broker.kill()
            await asyncio.sleep(0.5)
            await broker.comes_up()
            before = len(values_of(group))
            await until(lambda: len(values_of(group)) > before or publishing.done(), 60)  # noqa: B023
        await publishing
        await until(lambda: len(values_of(group)) == EVENTS, 60)

    assert in_order_of_first_arrival(group.handled) == {
        f"key-{n}": list(range(n, EVENTS, KEYS)) for n in range(KEYS)
    }


async def test_publishers_and_readers_wait_for_a_broker_that_is_not_there(
    bus: EventBus, broker: MortalKafka
) -> None:
    early = await bus.subscribe(GROUP, [TOPIC], no_positions)
    broker.kill()
    reader = TableReader(bus, RoutesChanged)
    following = asyncio.create_task(reader.run())
    with pytest.raises(UnavailableError, match=r"Kafka at 127\.0\.0\.1"):
        await bus.publish([record("a", b"1")])
    with pytest.raises(UnavailableError):
        await bus.ends([TOPIC])
    with pytest.raises(UnavailableError):
        await early.fetch(1, 0.1)
    with pytest.raises(UnavailableError):
        await bus.subscribe(None, [TABLE], no_positions)
    assert not reader.ready.is_set()

    await broker.comes_up()

    async with asyncio.timeout(240):
        await reader.ready.wait()
        await publish_until_kept(bus, 0, 1)
        assert [r.value for r in await collect(early, 1)] == [b"0"]
    following.cancel()
    await asyncio.wait([following])


async def test_a_consumer_that_hears_nothing_is_replaced_and_goes_on(
    bus: EventBus, broker: MortalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "SILENCE_SECONDS", 1.0)
    group = Group()
    await bus.publish(numbered(10))
    with capture_logs() as logs:
        async with group.member(bus):
            await until(lambda: len(group.handled) == 10)
            async with hanging(broker):
                await until(lambda: replaced(logs))
            await bus.publish(numbered(10, first=10))
            await until(lambda: len(values_of(group)) == 20, 60)


async def test_a_publisher_that_hears_nothing_is_replaced_and_repeats_in_order(
    bus: EventBus, broker: MortalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "PUBLISH_SECONDS", 1.0)
    await bus.publish(numbered(10, KEYS))
    async with hanging(broker):
        with pytest.raises(UnavailableError, match="no answer in 1 seconds"):
            await bus.publish(numbered(40, KEYS, first=10))
    await publish_until_kept(bus, 10, 40)
    await publish_until_kept(bus, 50, 50)

    assert in_order_of_first_arrival(await read_everything(bus)) == {
        f"key-{n}": list(range(n, 100, KEYS)) for n in range(KEYS)
    }


async def test_closing_does_not_wait_for_a_broker_that_hangs(broker: MortalKafka) -> None:
    place = BusAddress(broker.url, f"{uuid.uuid4().hex[:8]}.")
    await ensure_topics(place.url, place.prefix, [topic_of(TOPIC), dead_letters_of(GROUP)])
    bus = await place.open()
    group = Group()
    await bus.publish(numbered(10))
    async with group.member(bus):
        await until(lambda: len(group.handled) == 10)
    async with hanging(broker):
        publishing = asyncio.create_task(bus.publish(numbered(5)))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(15):
            await bus.close()
    await asyncio.wait([publishing])
    await bus.close()


async def publish_slowly(bus: EventBus) -> None:
    """As a relay does: in order, and again from where it failed."""
    for first in range(0, EVENTS, 20):
        await publish_until_kept(bus, first, 20)
        await asyncio.sleep(0.1)


async def publish_until_kept(bus: EventBus, first: int, count: int) -> None:
    while True:
        try:
            return await bus.publish(numbered(count, KEYS, first))
        except UnavailableError:
            await asyncio.sleep(0.2)


def values_of(group: Group) -> set[bytes]:
    return {each.value for each in group.handled}


def in_order_of_first_arrival(records: Sequence[Record]) -> dict[str, list[int]]:
    """Without what was published or delivered twice, as an inbox would let it through."""
    first: dict[bytes, Record] = {}
    for each in records:
        first.setdefault(each.value, each)
    return by_key(list(first.values()))


def replaced(logs: list[EventDict]) -> bool:
    return any(line["event"] == "kafka.consumer-replaced" for line in logs)


@asynccontextmanager
async def hanging(broker: MortalKafka) -> AsyncGenerator[None, None]:
    """Connections stay open and nothing is answered."""
    process = next(p for p in psutil.Process().children() if holds(p, broker.log.parent))
    process.suspend()
    while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        process.resume()


def holds(process: psutil.Process, directory: Path) -> bool:
    return any(str(directory) in word for word in process.cmdline())

"""What is true of Kafka only: its topics, other writers, and positions that it has no more."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as KafkaPartition
from structlog.testing import capture_logs

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus, Positions, TopicPartition, from_start
from loopwright_common.bus.topics import CONSUMERS, topic_of
from loopwright_common.cloudevents.codec import Record
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.events import TOPICS, RoutesChanged, Topic
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from tests.common.bus_harness import (
    GROUP,
    TABLE,
    TOPIC,
    BusAddress,
    Group,
    collect,
    no_positions,
    read_everything,
    record,
    until,
    values,
)


@pytest.fixture
async def kafka_bus(kafka_address: BusAddress) -> AsyncGenerator[EventBus, None]:
    bus = await kafka_address.open()
    yield bus
    await bus.close()


@pytest.fixture
async def admin(kafka_address: BusAddress) -> AsyncGenerator[AIOKafkaAdminClient, None]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_address.url.removeprefix("kafka://"))
    await client.start()
    yield client
    await client.close()


# ---- topics --------------------------------------------------------------------------------------


async def test_declaring_again_changes_nothing(kafka_address: BusAddress) -> None:
    assert await ensure_topics(kafka_address.url, kafka_address.prefix, [topic_of(TOPIC)]) == 0


async def test_another_number_of_partitions_is_an_error_naming_both(
    kafka_address: BusAddress,
) -> None:
    prefix = kafka_address.prefix + "old."
    await ensure_topics(kafka_address.url, prefix, [Topic(TOPIC, partitions=2)])
    bus = await open_bus(kafka_address.url, prefix)

    says = "code-changed' has 2 partitions and is declared with 3"
    with pytest.raises(InvalidError, match=says):
        await ensure_topics(kafka_address.url, prefix, [topic_of(TOPIC)])
    with pytest.raises(InvalidError, match=says):
        await bus.publish([record("a", b"1")])
    await bus.close()


async def test_a_changed_declaration_is_applied_and_other_settings_stay(
    kafka_address: BusAddress, admin: AIOKafkaAdminClient
) -> None:
    name = kafka_address.prefix + TOPIC
    await set_on(admin, name, {**await settings_of(admin, name), "compression.type": "gzip"})
    await until(lambda: is_set(admin, name, "compression.type", "gzip"))
    shorter = replace(topic_of(TOPIC), retention=timedelta(days=1))

    assert await ensure_topics(kafka_address.url, kafka_address.prefix, [shorter]) == 1

    await until(lambda: is_set(admin, name, "retention.ms", "86400000"))
    now = await settings_of(admin, name)
    assert (now["compression.type"], now["cleanup.policy"]) == ("gzip", "delete")


async def test_a_missing_topic_says_what_to_run_and_is_found_once_made(
    kafka_address: BusAddress,
) -> None:
    prefix = kafka_address.prefix + "new."
    bus = await open_bus(kafka_address.url, prefix)
    for call in (
        bus.publish([record("a", b"1")]),
        bus.ends([TOPIC]),
        bus.subscribe(None, [TOPIC], from_start),
    ):
        with pytest.raises(
            UnavailableError, match=r"new\.code-changed.*loopwright_common.process.declare_topics"
        ):
            await call

    await ensure_topics(kafka_address.url, prefix, [topic_of(TOPIC)])
    await bus.publish([record("a", b"1")])
    with pytest.raises(UnavailableError, match=r"workers\.dead-letters"):
        await bus.subscribe(GROUP, [TOPIC], no_positions)
    await bus.close()


def test_the_job_declares_everything_and_says_so(kafka_url: str) -> None:
    said = [declare_by_job(kafka_url, f"job-{os.getpid()}.") for _ in range(2)]

    count = len(TOPICS) + len(CONSUMERS)
    assert said == [
        f"{count} topics are as declared, {count} of them made or changed now",
        f"{count} topics are as declared, 0 of them made or changed now",
    ]


def test_the_job_names_the_setting_it_misses() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        declare_by_job("", "")

    assert "LOOPWRIGHT_BUS_URL is ''; give kafka://HOST:PORT" in failed.value.stderr


@pytest.mark.parametrize(
    ("url", "prefix", "field"),
    [
        ("kafka://", "", "bus_url"),
        ("kafka://broker", "", "bus_url"),
        ("kafka://broker:9092/topic", "", "bus_url"),
        ("kafka://one:1, two:2", "", "bus_url"),
        ("redis://broker:9092", "", "bus_url"),
        ("kafka://broker:9092", "acme/", "topic_prefix"),
    ],
)
async def test_a_wrong_address_or_prefix_is_named(url: str, prefix: str, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        await open_bus(url, prefix)

    assert refused.value.field == field


async def test_prefixes_keep_apart_topics_and_groups(kafka_address: BusAddress) -> None:
    other_place = BusAddress(kafka_address.url, kafka_address.prefix + "b.")
    names = [TOPIC, f"{GROUP}.dead-letters"]
    await ensure_topics(other_place.url, other_place.prefix, [topic_of(name) for name in names])
    one, other = await kafka_address.open(), await other_place.open()
    await one.publish([record("a", b"one")])
    await other.publish([record("a", b"other")])

    first = await one.subscribe(GROUP, [TOPIC], no_positions)
    second = await other.subscribe(GROUP, [TOPIC], no_positions)

    assert values(await collect(first, 1)) == [b"one"]
    assert values(await collect(second, 1)) == [b"other"]
    assert len(first.assigned()) == len(second.assigned()) == 3
    await one.close()
    await other.close()


# ---- other writers -------------------------------------------------------------------------------


async def test_strange_records_of_others_are_read_and_hold_up_nothing(
    kafka_address: BusAddress, kafka_bus: EventBus
) -> None:
    name = kafka_address.prefix + TOPIC
    async with AIOKafkaProducer(bootstrap_servers=servers(kafka_address)) as foreign:
        await foreign.send_and_wait(name, b"no key", partition=0)
        await foreign.send_and_wait(name, None, key=b"\xff\x00", partition=0)
        headers = [("ce_id", b"\xfe"), ("ce_id", b"last"), ("nothing", None)]
        await foreign.send_and_wait(name, b"headers", partition=0, headers=headers)

    read = await read_everything(kafka_bus)

    assert [(r.key, r.value) for r in read] == [("", b"no key"), ("��", b""), ("", b"headers")]
    assert read[2].headers == {"ce_id": "last", "nothing": ""}


async def test_only_the_empty_records_of_a_table_are_tombstones_to_others(
    kafka_address: BusAddress, kafka_bus: EventBus
) -> None:
    await kafka_bus.publish([record("a", b""), record("a", b"", TABLE)])
    names = [kafka_address.prefix + TOPIC, kafka_address.prefix + TABLE]
    foreign = AIOKafkaConsumer(
        *names, bootstrap_servers=servers(kafka_address), auto_offset_reset="earliest"
    )
    async with foreign, asyncio.timeout(120):
        read = [await foreign.getone(), await foreign.getone()]

    assert {found.topic: found.value for found in read} == {names[0]: b"", names[1]: None}


async def test_a_table_is_ready_though_a_transaction_ended_it(
    kafka_address: BusAddress, kafka_bus: EventBus
) -> None:
    name = kafka_address.prefix + TABLE
    foreign = AIOKafkaProducer(bootstrap_servers=servers(kafka_address), transactional_id=name)
    async with foreign, foreign.transaction():
        await foreign.send_and_wait(name, None, key=b"a", partition=0)
    reader = TableReader(kafka_bus, RoutesChanged)
    task = asyncio.create_task(reader.run())

    async with asyncio.timeout(120):
        await reader.ready.wait()
    task.cancel()
    await asyncio.wait([task])


# ---- positions -----------------------------------------------------------------------------------


async def test_a_position_past_retention_goes_on_at_the_earliest_and_says_so(
    kafka_address: BusAddress, kafka_bus: EventBus, admin: AIOKafkaAdminClient
) -> None:
    read = await published(kafka_bus, 10)
    partition = TopicPartition(TOPIC, read[0].partition)
    expired = {
        KafkaPartition(kafka_address.prefix + TOPIC, partition.partition): RecordsToDelete(6)
    }
    await admin.delete_records(expired)

    with capture_logs() as logs:
        subscription = await kafka_bus.subscribe(GROUP, [TOPIC], Group({partition: 2}).load)
        assert values(await collect(subscription, 4)) == [b"6", b"7", b"8", b"9"]

    said = next(line for line in logs if line["event"] == "kafka.position-not-in-log")
    assert (said["position"], said["going_on_at"], said["log_level"]) == (2, 6, "error")


async def test_a_reader_overtaken_by_retention_goes_on_at_the_earliest(
    kafka_address: BusAddress, kafka_bus: EventBus, admin: AIOKafkaAdminClient
) -> None:
    read = await published(kafka_bus, 10)
    partition = TopicPartition(TOPIC, read[0].partition)
    subscription = await kafka_bus.subscribe(None, [TOPIC], from_start)
    await collect(subscription, 10)
    expired = {
        KafkaPartition(kafka_address.prefix + TOPIC, partition.partition): RecordsToDelete(6)
    }
    await admin.delete_records(expired)

    subscription.seek(partition, 3)

    assert values(await collect(subscription, 4)) == [b"6", b"7", b"8", b"9"]


async def test_a_position_beyond_the_end_starts_over_rather_than_skip(kafka_bus: EventBus) -> None:
    read = await published(kafka_bus, 3)
    partition = TopicPartition(TOPIC, read[0].partition)

    with capture_logs() as logs:
        subscription = await kafka_bus.subscribe(GROUP, [TOPIC], Group({partition: 99}).load)
        assert values(await collect(subscription, 3)) == [b"0", b"1", b"2"]

    said = next(line for line in logs if line["event"] == "kafka.position-not-in-log")
    assert (said["position"], said["end"], said["going_on_at"]) == (99, 3, 0)


async def test_a_database_that_is_away_delays_reading_and_keeps_the_membership(
    kafka_bus: EventBus,
) -> None:
    await published(kafka_bus, 3)
    away = True

    async def load(_partitions: set[TopicPartition]) -> Positions:
        if away:
            raise UnavailableError("database: gone")
        return {}

    subscription = await kafka_bus.subscribe(GROUP, [TOPIC], load)
    with capture_logs() as logs:
        with pytest.raises(UnavailableError, match="gone"):
            await collect(subscription, 1)
        away = False
        assert values(await collect(subscription, 3)) == [b"0", b"1", b"2"]

    assert not [line for line in logs if line["event"] == "kafka.consumer-replaced"]


async def test_the_lag_is_seen_from_outside(
    kafka_address: BusAddress, kafka_bus: EventBus, admin: AIOKafkaAdminClient
) -> None:
    (first, *_) = await published(kafka_bus, 3)
    subscription = await kafka_bus.subscribe(GROUP, [TOPIC], no_positions)
    await collect(subscription, 3)

    await subscription.acknowledge({TopicPartition(TOPIC, first.partition): 2})

    async def committed() -> bool:
        told = await admin.list_consumer_group_offsets(kafka_address.prefix + GROUP)
        partition = KafkaPartition(kafka_address.prefix + TOPIC, first.partition)
        return partition in told and told[partition].offset == 2

    await until(committed)


async def test_what_the_broker_compacts_leaves_the_latest_of_each_key(
    kafka_address: BusAddress, kafka_bus: EventBus, admin: AIOKafkaAdminClient
) -> None:
    name = kafka_address.prefix + TABLE
    quick = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"}
    await set_on(admin, name, {**await settings_of(admin, name), **quick})
    for n in range(5):
        await kafka_bus.publish([record("kept", str(n).encode(), TABLE)])
    await kafka_bus.publish([record("gone", b"1", TABLE), record("gone", b"", TABLE)])

    async def compacted() -> bool:
        await kafka_bus.publish([record("other", b"x", TABLE), record("kept", b"5", TABLE)])
        read = await read_everything(kafka_bus, TABLE)
        kept = [r.value for r in read if r.key == "kept"]
        assert kept[-1] == b"5"
        return not {b"0", b"1", b"2"} & set(kept)

    await until(compacted, 60)


# ---- helpers -------------------------------------------------------------------------------------


async def published(bus: EventBus, count: int) -> list[Record]:
    """So many records of one key, as they lie in the log."""
    await bus.publish([record("a", str(n).encode()) for n in range(count)])
    return await read_everything(bus)


def servers(address: BusAddress) -> str:
    return address.url.removeprefix("kafka://")


def declare_by_job(url: str, prefix: str) -> str:
    """The last line of the job."""
    done = subprocess.run(
        [sys.executable, "-m", "loopwright_common.process.declare_topics"],
        env={**os.environ, "LOOPWRIGHT_BUS_URL": url, "LOOPWRIGHT_TOPIC_PREFIX": prefix},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[-1]


async def settings_of(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    """What is set on the topic itself."""
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((*_, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries if entry[3] == 1}


async def is_set(admin: AIOKafkaAdminClient, name: str, setting: str, value: str) -> bool:
    return (await settings_of(admin, name)).get(setting) == value


async def set_on(admin: AIOKafkaAdminClient, name: str, settings: dict[str, str]) -> None:
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, settings)])

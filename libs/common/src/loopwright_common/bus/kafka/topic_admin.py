"""The declared topics made true on Kafka."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from loopwright_common.bus.kafka.cluster import Cluster, described, start
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.events import Topic

_ROOM_FOR_KEY_AND_HEADERS = 64 << 10
_SET_ON_TOPIC = 1
_REMEDY = "run `python -m loopwright_common.process.declare_topics`"
log = structlog.get_logger()


async def declare_topics(cluster: Cluster, topics: Sequence[Topic]) -> int:
    """Create what is missing, set what differs; returns how many changed.

    InvalidError names a topic with another number of partitions: keys would move to others.
    UnavailableError says why Kafka did not do it.
    """
    async with cluster.reached(60), _admin(cluster) as admin:
        there = await _partitions(admin)
        missing = [topic for topic in topics if cluster.name(topic.name) not in there]
        present = [topic for topic in topics if cluster.name(topic.name) in there]
        for topic in present:
            _compare(cluster, topic, there)
        await _create(admin, cluster, missing)
        return len(missing) + await _set(admin, cluster, present)


async def check_topics(cluster: Cluster, topics: Sequence[Topic]) -> None:
    """UnavailableError for a topic that is missing, InvalidError for one of other partitions."""
    async with cluster.reached(), _admin(cluster) as admin:
        there = await _partitions(admin)
    for topic in topics:
        if cluster.name(topic.name) not in there:
            raise UnavailableError(
                f"{cluster} has no topic {cluster.name(topic.name)!r}; {_REMEDY}"
            )
        _compare(cluster, topic, there)


def _compare(cluster: Cluster, topic: Topic, there: Mapping[str, int]) -> None:
    name = cluster.name(topic.name)
    if there[name] != topic.partitions:
        raise InvalidError(
            f"topic {name!r} has {there[name]} partitions and is declared with {topic.partitions}; "
            "with another number keys change their places: use another LOOPWRIGHT_TOPIC_PREFIX"
        )


@contextlib.asynccontextmanager
async def _admin(cluster: Cluster) -> AsyncGenerator[AIOKafkaAdminClient, None]:
    admin = AIOKafkaAdminClient(**cluster.client)
    try:
        await start(admin)
        yield admin
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """How many each topic has; asked for all, as asking for one by name may create it."""
    described_topics = await admin.describe_topics()
    return {topic["topic"]: len(topic["partitions"]) for topic in described_topics}


async def _create(admin: AIOKafkaAdminClient, cluster: Cluster, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    new = [
        NewTopic(cluster.name(topic.name), topic.partitions, -1, {}, _settings(topic))
        for topic in topics
    ]
    answer = await admin.create_topics(new)
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise UnavailableError(f"{cluster}: topic {name!r} was not made: {error()} {message}")
    wanted = {topic.name for topic in new}
    while not wanted <= (await _partitions(admin)).keys():  # noqa: ASYNC110  (brokers do not say)
        await asyncio.sleep(0.05)


async def _set(admin: AIOKafkaAdminClient, cluster: Cluster, topics: Sequence[Topic]) -> int:
    if not topics:
        return 0
    resources = [_resource(cluster.name(topic.name)) for topic in topics]
    answers = await admin.describe_configs(resources)
    configs = {name: entries for answer in answers for *_, name, entries in answer.resources}
    changes = []
    for topic in topics:
        name, wanted = cluster.name(topic.name), _settings(topic)
        now = {key: value for key, value, *_ in configs[name]}
        if differing := {key: value for key, value in wanted.items() if now.get(key) != value}:
            log.info("kafka.topic-changed", topic=name, settings=differing)
            # What is not named in the request falls back to the broker's default.
            kept = {entry[0]: entry[1] for entry in configs[name] if entry[3] == _SET_ON_TOPIC}
            changes.append(_resource(name, {**kept, **wanted}))
    if changes:
        await _alter(admin, cluster, changes)
    return len(changes)


async def _alter(admin: AIOKafkaAdminClient, cluster: Cluster, changes: list[Any]) -> None:
    for answer in await admin.alter_configs(changes):
        for code, message, _, name in answer.resources:
            if code:
                reason = described(for_code(code)(message))
                raise UnavailableError(f"{cluster}: topic {name!r} was not changed: {reason}")


def _resource(name: str, settings: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, settings)


def _settings(topic: Topic) -> dict[str, str]:
    common = {
        "max.message.bytes": str(topic.largest_record + _ROOM_FOR_KEY_AND_HEADERS),
        # The broker's clock decides about retention and about reading by time, not a writer's.
        "message.timestamp.type": "LogAppendTime",
    }
    if topic.compacted:
        minutes = str(int(timedelta(minutes=10).total_seconds() * 1000))
        # A table is read whole at every start, so what was replaced goes soon.
        tidy = {"segment.ms": minutes, "min.cleanable.dirty.ratio": "0.1"}
        return {**common, **tidy, "cleanup.policy": "compact"}
    kept = str(int(topic.retention.total_seconds() * 1000))
    return {**common, "cleanup.policy": "delete", "retention.ms": kept}

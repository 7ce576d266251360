"""The topics: how each is kept and where a key lies in it."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from zlib import crc32

from loopwright_common.bus.interface import TopicPartition
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.errors import InvalidError, TooLargeError
from loopwright_common.events import TOPICS, Topic

CONSUMERS = (
    "registry.lifecycle",
    "registry.archive",
    "trainer.intake",
    "deployer.lifecycle",
    "deployer.measures",
    "monitor.lifecycle",
    "monitor.detect",
    "monitor.capture",
)
_DEAD_LETTERS = ".dead-letters"


def dead_letters_of(consumer: str) -> Topic:
    """Where a consumer's dead letters go: whole, with headers that say what befell them."""
    name = consumer + _DEAD_LETTERS
    return Topic(name, partitions=1, retention=timedelta(days=30), largest_record=2 << 20)


def all_topics(consumers: Sequence[str] = CONSUMERS) -> list[Topic]:
    """Every event's topic and the dead letters of the consumers."""
    return [*TOPICS.values(), *map(dead_letters_of, consumers)]


def topic_of(name: str) -> Topic:
    """The topic of that name, dead letters included; InvalidError for one that nobody declared."""
    if name in TOPICS:
        return TOPICS[name]
    if name.endswith(_DEAD_LETTERS):
        return dead_letters_of(name.removesuffix(_DEAD_LETTERS))
    raise InvalidError(f"no topic {name!r}; topics are declared in loopwright_common.events")


def partition_of(topic: Topic, key: str) -> int:
    """The partition of a key, crc32 of its UTF-8 modulo the partitions."""
    return crc32(key.encode()) % topic.partitions


def partitions_of(topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of the topics; InvalidError for a topic that nobody declared."""
    return [
        TopicPartition(name, partition)
        for name in topics
        for partition in range(topic_of(name).partitions)
    ]


def refuse_too_large(record: OutgoingRecord) -> None:
    """TooLargeError where the value has more bytes than its topic allows."""
    topic = topic_of(record.topic)
    if len(record.value) > topic.largest_record:
        raise TooLargeError(
            f"{topic.name}: a record of {len(record.value)} bytes; at most {topic.largest_record}"
        )

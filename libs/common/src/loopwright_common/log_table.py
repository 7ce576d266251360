"""The one table of the embedded event log, and how topics lie in it."""

from zlib import crc32

import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.codec import Outgoing
from loopwright_common.errors import InvalidError, TooLargeError
from loopwright_common.events import TOPICS, Topic
from loopwright_common.sql import Moment

metadata = sa.MetaData()
log = sa.Table(
    "log",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Index("log_place", "topic", "partition", "position"),
    sa.Index("log_key", "topic", "key", "position"),
    sqlite_autoincrement=True,
)


def topic_of(name: str) -> Topic:
    """The declared topic, or the defaults for a dead-letter topic."""
    if name in TOPICS:
        return TOPICS[name]
    if name.endswith(".dead-letters"):
        return Topic(name, partitions=1, largest_record=2 << 20)
    raise InvalidError(f"no topic {name!r}; topics are declared in loopwright_common.events")


def partition_of(topic: Topic, key: str) -> int:
    return crc32(key.encode()) % topic.partitions


def row_of(record: Outgoing) -> dict[str, object]:
    topic = topic_of(record.topic)
    if len(record.value) > topic.largest_record:
        raise TooLargeError(
            f"{topic.name}: a record of {len(record.value)} bytes; at most {topic.largest_record}"
        )
    return {
        "topic": record.topic,
        "partition": partition_of(topic, record.key),
        "key": record.key,
        "headers": dict(record.headers),
        "value": record.value,
        "time": clock.now(),
    }


def expired(topic: Topic) -> sa.Delete:
    if topic.compacted:
        newest = sa.select(sa.func.max(log.c.position)).where(log.c.topic == topic.name)
        return sa.delete(log).where(
            log.c.topic == topic.name, log.c.position.not_in(newest.group_by(log.c.key))
        )
    return sa.delete(log).where(
        log.c.topic == topic.name, log.c.time < clock.now() - topic.retention
    )

"""The one table of the embedded event log, and how topics lie in it."""

import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.bus.topics import partition_of, refuse_too_large, topic_of
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.database import UtcDateTime
from loopwright_common.events import Topic

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
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Index("log_place", "topic", "partition", "position"),
    sa.Index("log_key", "topic", "key", "position"),
    sqlite_autoincrement=True,
)


def row_of(record: OutgoingRecord) -> dict[str, object]:
    """The record as a row, kept now; TooLargeError for one over its topic's limit."""
    refuse_too_large(record)
    return {
        "topic": record.topic,
        "partition": partition_of(topic_of(record.topic), record.key),
        "key": record.key,
        "headers": dict(record.headers),
        "value": record.value,
        "time": clock.now(),
    }


def expired(topic: Topic) -> sa.Delete:
    """The rows of a topic that may go: past its retention, or replaced where it is compacted."""
    if topic.compacted:
        newest = sa.select(sa.func.max(log.c.position)).where(log.c.topic == topic.name)
        return sa.delete(log).where(
            log.c.topic == topic.name, log.c.position.not_in(newest.group_by(log.c.key))
        )
    return sa.delete(log).where(
        log.c.topic == topic.name, log.c.time < clock.now() - topic.retention
    )

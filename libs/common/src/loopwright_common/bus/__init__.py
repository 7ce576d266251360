"""The event bus: its interface, the topics on it, and compacted topics read as tables.

Nothing here imports a bus itself (aiokafka, SQLAlchemy): `process/bus_factory.py` opens them.
"""

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import (
    EventBus,
    LoadPositions,
    Positions,
    Subscription,
    TopicPartition,
    from_start,
)
from loopwright_common.bus.topics import (
    CONSUMERS,
    all_topics,
    dead_letters_of,
    partition_of,
    partitions_of,
    topic_of,
)

__all__ = [
    "CONSUMERS",
    "EventBus",
    "LoadPositions",
    "Positions",
    "Subscription",
    "TableReader",
    "TopicPartition",
    "all_topics",
    "dead_letters_of",
    "from_start",
    "partition_of",
    "partitions_of",
    "topic_of",
]

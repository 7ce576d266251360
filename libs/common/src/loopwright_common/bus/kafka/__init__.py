"""The event bus on Apache Kafka; the only package that knows aiokafka.

What its defaults leave unsafe is set here: positions live in the services' databases, nothing is
committed by itself, no position is reset silently, every wait has an end, and a client that does
not come back after a fault is replaced.
"""

from loopwright_common.bus.kafka.bus import KafkaBus
from loopwright_common.bus.kafka.cluster import Cluster
from loopwright_common.bus.kafka.topic_admin import declare_topics

__all__ = ["Cluster", "KafkaBus", "declare_topics"]

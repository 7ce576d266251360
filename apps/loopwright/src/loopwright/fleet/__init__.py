"""Every service as a process of its own, on a real Kafka and a real PostgreSQL from packages."""

from loopwright.fleet.child import Child, End
from loopwright.fleet.fleet import Fleet
from loopwright.fleet.services import Site

__all__ = ["Child", "End", "Fleet", "Site"]

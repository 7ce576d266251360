"""Every service as a process of its own, on a real Kafka and a real PostgreSQL from packages."""

from loopwright.fleet.fleet import Fleet
from loopwright.fleet.services import FleetLayout
from loopwright.fleet.supervised_process import ProcessExit, SupervisedProcess

__all__ = ["Fleet", "FleetLayout", "ProcessExit", "SupervisedProcess"]

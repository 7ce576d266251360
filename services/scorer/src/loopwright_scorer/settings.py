"""The scorer's settings, from its environment."""

import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from loopwright_common.egress.index_access import IndexAccess, index_access
from loopwright_common.process.directory_lock import exclusive_directory
from loopwright_common.sandbox import Level
from loopwright_common.settings import LAST_PORT, Port, ServiceSettings
from loopwright_scorer.isolated.limits import WorkerLimits

GRPC_ABOVE = 1000
"""Unless told otherwise, gRPC has the port so far above that of HTTP."""


class ScorerSettings(ServiceSettings):
    """Sizes in bytes, times in seconds."""

    service: ClassVar[str] = "scorer"

    port: Port = 8004
    grpc_port: Port | None = None
    """Where V2 is served over gRPC: 1000 above `port` unless given, nowhere with 0."""
    cache_dir: Path = Path(".loopwright/scorer")
    """Last routes, packages, spilled records and the key of prediction ids; one process each."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes behind the port, each a replica of its own; several need a bus at kafka://."""
    worker: int | None = Field(default=None, ge=0)
    """Which of them this is; given by the process that started it."""
    prediction_key: SecretStr | None = None
    """Key of prediction ids as 64 hex digits, the same for all replicas; else one of its own."""
    replica: str | None = None
    """Name of this replica, the same after a restart; host and port unless given."""
    request_rate: float = Field(default=50_000.0, gt=0)
    """Requests a second of one client: what limits a scorer is room, not who asks."""
    request_buffer: int = Field(default=256 << 20, ge=1024)
    """Bytes that all requests hold, with what values are computed on and unsent answers."""
    largest_inference: int = Field(default=16 << 20, ge=1024)
    """Bytes of the body of one inference request, inflated; a larger one is refused with 413."""
    record_interval: float = Field(default=1.0, gt=0)
    """Seconds after which an inference batch leaves, however few rows it has."""
    record_rows: int = Field(default=2048, ge=1)
    """An inference batch leaves with this many rows, or after `record_interval`."""
    record_buffer: int = Field(default=64 << 20, ge=0)
    """Bytes of inference records in memory; past it batches spill to disk; 0 keeps no records."""
    record_rate: int = Field(default=8 << 20, ge=1 << 20)
    """Bytes of requests a second of which a scorer with no time to spare keeps records."""
    spill_limit: int = Field(default=256 << 20, ge=0)
    """Bytes of batches on disk while the bus is away; past it they are dropped and counted."""
    shadow_buffer: int = Field(default=32 << 20, ge=0)
    """Bytes of calls that wait for shadow arms; past it they are not shadowed."""
    queue_limit: int = Field(default=256, ge=1)
    """Calls that may wait for a model to be free; past it a call is answered with 503."""
    largest_json: int = Field(default=4 << 20, ge=1024)
    """Bytes of JSON or CSV in a body: others wait while they are parsed, not so for raw tensors."""
    drain_delay: float = Field(default=0.0, ge=0)
    """Seconds that new calls are answered once told to stop, so that a balancer looks elsewhere."""
    memory_budget: int = Field(default=2 << 30, ge=0)
    """Bytes of loaded versions, past which those without traffic are evicted until asked for."""
    memory_limit: int = Field(default=4 << 30, ge=1 << 28)
    """Bytes of this process, past which the computation that goes on is ended, and it with it."""
    sandbox_minimum: Level = Level.PROCESS
    """Weakest level for packages in their own process: none, process, container or namespace."""
    isolated_memory: int = Field(default=4 << 30, ge=256 << 20)
    """Bytes of address space of each process that a package runs in which has one of its own, and
    with cgroups of memory of it and what it starts."""
    isolated_call_timeout: float = Field(default=10.0, gt=0)
    """Seconds that such a process may take for a call before it is ended."""
    isolated_start_timeout: float = Field(default=60.0, gt=0)
    """Seconds that it may take to open its package."""
    index_addresses: str = ""
    """What uv may reach beside public addresses and what its variables name: `10.1.0.0/16:443`."""
    heartbeat_interval: float = Field(default=5, gt=0)
    """Seconds between two reports of this replica."""

    @model_validator(mode="after")
    def _has_a_port_for_grpc(self) -> Self:
        if self.port_of_grpc > LAST_PORT:
            raise ValueError(
                f"grpc_port: {self.port_of_grpc}, {GRPC_ABOVE} above port, is no port; set "
                "LOOPWRIGHT_SCORER_GRPC_PORT to another, or to 0 for no gRPC"
            )
        return self

    @property
    def replica_name(self) -> str:
        return self.replica or f"{socket.gethostname()}-{self.port}"

    @property
    def key_file(self) -> Path:
        """Where the key of prediction ids is kept, unless it is given."""
        return self.cache_dir / "prediction.key"

    @property
    def port_of_grpc(self) -> int:
        """0 for none."""
        return self.port + GRPC_ABOVE if self.grpc_port is None else self.grpc_port

    @property
    def isolated_limits(self) -> WorkerLimits:
        return WorkerLimits(
            self.isolated_memory, self.isolated_call_timeout, self.isolated_start_timeout
        )

    @property
    def index_access(self) -> IndexAccess:
        """What uv may reach; InvalidError for an address or a proxy that is none."""
        return index_access(self.index_addresses, os.environ)

    def own_directory(self) -> AbstractContextManager[None]:
        """Held while entered; ConflictError while another scorer has it.

        UnavailableError where nothing can be written there.
        """
        remedy = "set LOOPWRIGHT_SCORER_CACHE_DIR to a directory of this scorer's own"
        return exclusive_directory(self.cache_dir, "scorer", remedy)

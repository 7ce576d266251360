"""What isolated packages are given: limits, directories on disk, and metrics."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.files.removal import remove_tree
from loopwright_common.sandbox import Level, Sandbox, detect
from loopwright_common.serving.spec import IsolatedSpec
from loopwright_scorer.isolated.environments import EnvironmentCache, EnvironmentLease


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Limits of what a package runs in."""

    memory: int = 4 << 30
    """Bytes of address space of each process, and of what all of them take together."""
    call_timeout: float = 10.0
    """Seconds that one call may take."""
    start_timeout: float = 60.0
    """Seconds that opening the package may take."""


class IsolatedMetrics:
    """Memory and restarts of each isolated package, by the first digits of its digest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.memory = Gauge(
            "loopwright_scorer_isolated_memory_bytes",
            "Resident memory of a package's own process.",
            ["package"],
            registry=registry,
        )
        self.restarts = Counter(
            "loopwright_scorer_isolated_restarts",
            "Processes of packages that ended and were started anew, by reason.",
            ["package", "reason"],
            registry=registry,
        )


def nothing_quarantined(_digest: str) -> None:
    """No package is kept out of the scorer's process."""


@dataclass(frozen=True)
class IsolationConfig:
    """How one scorer isolates packages.

    `directory` is the scorer's own; `environments` may be shared with others.
    """

    directory: Path
    environments: Path | None = None
    index_access: IndexAccess = field(default_factory=IndexAccess)
    """What uv may reach when it builds them."""
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    metrics: IsolatedMetrics | None = None
    shares_process: bool = False
    """Whether other services are in the scorer's process: what is not proven computes elsewhere."""
    quarantine_reason: Callable[[str], str | None] = nothing_quarantined
    """Why a package, by its digest, is never to compute in the scorer's process again."""
    sandbox: Sandbox | None = None
    """The strongest that the machine permits, unless given."""
    python: Path | None = None
    """What packages run on, where somebody else has seen to their requirements."""

    def remove_leftovers(self) -> None:
        """Delete the working directories that a killed scorer left."""
        remove_tree(self.directory / "running")

    def new_directory(self) -> Path:
        """An empty directory for one process."""
        running = self.directory / "running"
        running.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=running))

    def strongest_sandbox(self) -> Sandbox:
        return self.sandbox or detect()

    def environment_cache(self) -> EnvironmentCache:
        directory = self.environments or self.directory / "environments"
        sandbox = self.strongest_sandbox()
        return EnvironmentCache(directory.resolve(), sandbox, self.index_access)

    def acquire_environment(self, isolated: IsolatedSpec) -> EnvironmentLease:
        """The Python for a package; errors as of `EnvironmentCache.acquire`."""
        if self.python is not None:
            return EnvironmentLease(self.python)
        return self.environment_cache().acquire(isolated.requirements, isolated.python)


def confined_already(directory: Path, python: Path) -> IsolationConfig:
    """For a process that is in a sandbox itself, in which no namespaces can be made.

    Its packages' processes have limits of their own there, and share the rest of it.
    """
    return IsolationConfig(directory, sandbox=detect(at_most=Level.PROCESS), python=python)

"""What an administrator gives to packages that run apart: limits, room on the disk, and a count."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_scorer.isolated.environments import Environments


@dataclass(frozen=True, slots=True)
class Limits:
    """For each process that a package runs in."""

    memory: int = 4 << 30
    """Bytes of address space."""
    seconds: float = 10.0
    """How long one call may take."""
    start_seconds: float = 60.0
    """How long it may take to open the package."""


class ApartMetrics:
    """Of each package that runs apart, by the first digits of its digest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.memory = Gauge(
            "loopwright_scorer_apart_memory_bytes",
            "Resident memory of a package's own process.",
            ["package"],
            registry=registry,
        )
        self.restarts = Counter(
            "loopwright_scorer_apart_restarts",
            "Processes of packages that ended and were started anew, by reason.",
            ["package", "reason"],
            registry=registry,
        )


@dataclass(frozen=True)
class Quarters:
    """One scorer's; `directory` is its own, and emptied of what a killed one left there."""

    directory: Path
    environments: Path | None = None
    limits: Limits = field(default_factory=Limits)
    metrics: ApartMetrics | None = None

    def clean(self) -> None:
        shutil.rmtree(self.directory / "running", ignore_errors=True)

    def room(self) -> Path:
        """An empty directory for one process."""
        running = self.directory / "running"
        running.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=running))

    def built(self) -> Environments:
        return Environments((self.environments or self.directory / "environments").resolve())

"""The services as programs of their own: where each listens, keeps its files and logs."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loopwright.client import PORTS
from loopwright.engines.program import Program
from loopwright.ports import port_of
from loopwright_scorer.settings import GRPC_ABOVE

_REPLICA_PORTS = 10
_PREDICTION_KEY_BYTES = 32
_GRPC_PORT, _GRPC_PORT_OF_ALL = "LOOPWRIGHT_SCORER_GRPC_PORT", "LOOPWRIGHT_GRPC_PORT"
_DIRECTORIES = {"trainer": "DIRECTORY", "deployer": "WORK_DIR", "scorer": "CACHE_DIR"}
"""Which setting of a service names its own directory."""


@dataclass(frozen=True, slots=True)
class FleetLayout:
    """How one system is laid out: its directory, ports, replicas and further settings."""

    data_dir: Path
    ports: Mapping[str, int] = field(default_factory=lambda: {s: port_of(s) for s in PORTS})
    replicas: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    def members(self) -> Iterator[tuple[str, str, int]]:
        """Name, service and port of each process; replicas listen ten ports apart."""
        for service, port in self.ports.items():
            yield service, service, port
            for number in range(1, self.replicas.get(service, 1)):
                yield f"{service}-{number + 1}", service, port + _REPLICA_PORTS * number


def programs(layout: FleetLayout, bus_url: str, database_url: str) -> Iterator[Program]:
    """One for each replica of each service."""
    shared = {
        "LOOPWRIGHT_ARTIFACTS_URL": f"file://{layout.data_dir / 'artifacts'}",
        "LOOPWRIGHT_LOCAL_REPOSITORIES": str(Path.cwd()),
        **os.environ,
        "LOOPWRIGHT_SCORER_PREDICTION_KEY": _prediction_key(layout.data_dir),
        # Heavy imports take twice as long without compiled files, and threads fight over cores.
        "PYTHONDONTWRITEBYTECODE": "",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **layout.environment,
    }
    addresses = {
        "BUS_URL": bus_url,
        "DATABASE_URL": database_url,
        **{f"URL_{s.upper()}": url(port) for s, port in layout.ports.items()},
    }
    for name, service, port in layout.members():
        yield Program(
            name=name,
            command=(sys.executable, "-m", f"loopwright_{service}.main"),
            directory=layout.data_dir,
            log=layout.logs / f"{name}.log",
            environment={
                **shared,
                # By the service's own names: no variable for all or for one says otherwise.
                **_names(service, addresses | _own(service, port, layout.data_dir / name)),
                **_grpc_of_replica(shared, port - layout.ports[service]),
            },
        )


def grpc_port(layout: FleetLayout, port: int) -> int:
    """Where the scorer that listens at `port` serves gRPC; 0 for nowhere."""
    first = _grpc_told({**os.environ, **layout.environment})
    if first is None:
        return port + GRPC_ABOVE
    return first and first + port - layout.ports["scorer"]


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _own(service: str, port: int, directory: Path) -> dict[str, str]:
    own = {"PORT": str(port)}
    if service in _DIRECTORIES:
        own[_DIRECTORIES[service]] = str(directory)
    if service == "scorer":
        own["REPLICA"] = directory.name
    return own


def _names(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"LOOPWRIGHT_{service.upper()}_{name}": value for name, value in settings.items()}


def _grpc_of_replica(shared: Mapping[str, str], above: int) -> dict[str, str]:
    """The scorer's port where the first replica's is told; else it follows from that of HTTP."""
    first = _grpc_told(shared)
    return {_GRPC_PORT: str(first + above)} if above and first else {}


def _grpc_told(shared: Mapping[str, str]) -> int | None:
    """The first scorer's port for gRPC, as its settings find it; None where they say nothing."""
    told = shared.get(_GRPC_PORT) or shared.get(_GRPC_PORT_OF_ALL) or ""
    return int(told) if told.isdecimal() else None


def _prediction_key(data_dir: Path) -> str:
    """The key that all scorers of this system sign prediction ids with; made once."""
    path = data_dir / "prediction.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(_PREDICTION_KEY_BYTES))
    return path.read_text()

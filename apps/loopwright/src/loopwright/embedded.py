"""Every service in one process, on one event loop: SQLite, local files, loopback.

One process per data directory: SQLite before 3.51.3 can corrupt a file that two
processes write.
"""

import asyncio
import fcntl
import socket
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TextIO, TypedDict

from pydantic import ValidationError
from rich.table import Table

from loopwright.client import PORTS
from loopwright.output import console
from loopwright_common import logs, runtime
from loopwright_common.errors import ConflictError, InvalidError, UnavailableError
from loopwright_common.runtime import Service
from loopwright_common.settings import ServiceSettings
from loopwright_common.sqlite_log import SqliteLog


class Place(TypedDict):
    """Settings that hold for every service of one embedded system."""

    database_url: str
    bus_url: str
    artifacts_url: str
    url_registry: str
    url_trainer: str
    url_deployer: str
    url_scorer: str
    url_monitor: str


def main(data_dir: Path) -> None:
    """Run until interrupted; ConflictError when the directory is in use."""
    logs.configure(_LogSettings().log_level)
    data_dir = data_dir.resolve()
    with locked(data_dir), asyncio.Runner() as runner:
        check_ports({name: _port(name, port) for name, port in PORTS.items()})
        runner.run(_serve(data_dir))


@contextmanager
def locked(data_dir: Path) -> Generator[None, None, None]:
    """Hold the data directory for this process; ConflictError when another holds it."""
    with _lock_file(data_dir) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{data_dir} is in use by another `loopwright up`; stop it or give --data-dir"
            ) from None
        yield


def _lock_file(data_dir: Path) -> TextIO:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return (data_dir / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{data_dir} cannot hold the data ({error.strerror}); give another --data-dir"
        ) from None


def check_ports(ports: Mapping[str, int]) -> None:
    """Raise ConflictError naming port and setting where something else listens."""
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ConflictError(
                    f"port {port} of the {name} cannot be used ({error.strerror}); free it or set "
                    f"LOOPWRIGHT_{name.upper()}_PORT"
                ) from None


@asynccontextmanager
async def composed(data_dir: Path) -> AsyncGenerator[list[Service], None]:
    """The services, built but not yet running."""
    async with AsyncExitStack() as stack:
        bus = await SqliteLog.open(data_dir)
        stack.push_async_callback(bus.close)
        yield await _build(data_dir, bus, stack)


async def _serve(data_dir: Path) -> None:
    async with composed(data_dir) as services:
        await runtime.run(services, started=lambda: _greet(services, data_dir))


async def _build(data_dir: Path, bus: SqliteLog, stack: AsyncExitStack) -> list[Service]:
    from loopwright_deployer import main as deployer
    from loopwright_deployer.settings import DeployerSettings
    from loopwright_monitor import main as monitor
    from loopwright_monitor.settings import MonitorSettings
    from loopwright_registry import main as registry
    from loopwright_registry.settings import RegistrySettings
    from loopwright_scorer import main as scorer
    from loopwright_scorer.settings import ScorerSettings
    from loopwright_trainer import main as trainer
    from loopwright_trainer.settings import TrainerSettings

    place = _place(data_dir)
    services = [
        await registry.build(RegistrySettings(**place), bus, stack),
        await trainer.build(TrainerSettings(**place), bus, stack),
        await deployer.build(DeployerSettings(**place, work_dir=data_dir / "deployer"), bus, stack),
        await scorer.build(
            ScorerSettings(**place, cache_dir=data_dir / "scorer", replica="embedded"), bus, stack
        ),
        await monitor.build(MonitorSettings(**place), bus, stack),
    ]
    services[0].loops.append(bus.keep_tidy)
    return services


def _place(data_dir: Path) -> Place:
    urls = {name: f"http://127.0.0.1:{_port(name, port)}" for name, port in PORTS.items()}
    return Place(
        database_url=f"sqlite:///{data_dir}",
        bus_url=f"sqlite:///{data_dir}",
        artifacts_url=f"file://{data_dir / 'artifacts'}",
        url_registry=urls["registry"],
        url_trainer=urls["trainer"],
        url_deployer=urls["deployer"],
        url_scorer=urls["scorer"],
        url_monitor=urls["monitor"],
    )


class _LogSettings(ServiceSettings):
    service = "up"
    port: int = 0


def _port(name: str, default: int) -> int:
    """The port that the service's own settings will find in the environment."""

    class PortSettings(ServiceSettings):
        service = name
        port: int = default

    try:
        return PortSettings().port
    except ValidationError as error:
        setting = f"LOOPWRIGHT_{name.upper()}_PORT"
        raise InvalidError(f"{setting}: {error.errors()[0]['msg']}", field=setting) from None


def _greet(services: Sequence[Service], data_dir: Path) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for service in services:
        table.add_row(service.name, f"http://{service.host}:{service.port}")
    console.print(f"[bold]Loopwright is up[/], data in {data_dir}", soft_wrap=True)
    console.print(table)
    console.print(
        "next, in another terminal:\n"
        "  loopwright init bank && loopwright repositories add bank bank\n"
        "  loopwright events list",
        markup=False,
    )

"""Every service in one process, on one event loop: SQLite, local files, loopback.

One process per data directory: SQLite before 3.51.3 can corrupt a file that two
processes write.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypedDict

from loopwright.data_dir import locked
from loopwright.output import greet
from loopwright.ports import check_ports, service_urls
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.files.private import use_private_umask
from loopwright_common.observability import logs, tracing
from loopwright_common.process import runtime
from loopwright_common.process.service import Service
from loopwright_common.settings import ServiceSettings


class ServicePaths(TypedDict):
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
    use_private_umask()
    logs.configure(_LogSettings().log_level)
    data_dir = data_dir.resolve()
    with locked(data_dir), asyncio.Runner() as runner:
        check_ports()
        runner.run(_serve(data_dir))


@asynccontextmanager
async def composed(data_dir: Path) -> AsyncGenerator[list[Service], None]:
    """The services, built but not yet running."""
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(data_dir)
        stack.push_async_callback(bus.close)
        yield await _build(data_dir, bus, stack)


async def _serve(data_dir: Path) -> None:
    async with composed(data_dir) as services:
        await runtime.run(services, started=lambda: greet(data_dir, addresses(services)))


def addresses(services: Sequence[Service]) -> dict[str, str]:
    """Where each service answers, and under a further name where beside HTTP."""
    found = {}
    for service in services:
        found[service.name] = f"http://{service.host}:{service.port}"
        others = service.other_addresses.items()
        found |= {f"{service.name} {protocol}": address for protocol, address in others}
    return found


async def _build(data_dir: Path, bus: SqliteBus, stack: AsyncExitStack) -> list[Service]:
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

    stack.callback(tracing.shut_down)
    paths = _service_paths(data_dir)
    training = TrainerSettings(**paths)
    here = training.local_repositories or str(Path.cwd())
    training = training.model_copy(update={"local_repositories": here})
    services = [
        await registry.build(RegistrySettings(**paths), bus, stack),
        await trainer.build(training, bus, stack),
        await deployer.build(DeployerSettings(**paths, work_dir=data_dir / "deployer"), bus, stack),
        await scorer.build(
            ScorerSettings(**paths, cache_dir=data_dir / "scorer", replica="embedded"),
            bus,
            stack,
            shares_process=True,
        ),
        await monitor.build(MonitorSettings(**paths), bus, stack),
    ]
    for service in services:
        tracing.configure(service.name, _LogSettings().otlp_endpoint)
    services[0].loops.append(bus.keep_tidy)
    return services


def _service_paths(data_dir: Path) -> ServicePaths:
    urls = service_urls()
    return ServicePaths(
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

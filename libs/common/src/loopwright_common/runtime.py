"""Run services: their HTTP servers and their loops, on one event loop, until told to stop.

A loop that fails ends the process, so that whoever started it notices and starts it anew.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
import uvicorn
from starlette.types import ASGIApp

from loopwright_common import logs
from loopwright_common.bus import EventBus
from loopwright_common.consumer import Consumer
from loopwright_common.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.metrics import Metrics
from loopwright_common.relay import Relay
from loopwright_common.settings import ServiceSettings
from loopwright_common.sqlite_log import open_bus

log = structlog.get_logger()


@dataclass(kw_only=True)
class Service:
    """A service ready to run: `loops` run until cancelled, `on_stop` drains before they are."""

    name: str
    app: ASGIApp
    host: str
    port: int
    metrics: Metrics
    loops: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: several run on one loop."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


S = TypeVar("S", bound=ServiceSettings)
Build = Callable[[S, EventBus, contextlib.AsyncExitStack], Awaitable[Service]]


def main(build: Build[S], settings: S) -> None:
    """Run one service as its own process until told to stop."""
    logs.configure(settings.log_level)
    asyncio.run(_run_alone(build, settings))


async def _run_alone(build: Build[S], settings: S) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bus = await open_bus(settings.bus_url)
        stack.push_async_callback(bus.close)
        await run([await build(settings, bus, stack)])


async def run(services: Sequence[Service], started: Callable[[], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then drain and stop in reverse order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run_until(stop, services, started)


async def run_until(
    stop: asyncio.Event, services: Sequence[Service], started: Callable[[], None] | None = None
) -> None:
    """Serve until `stop` is set."""
    servers = [_server(service) for service in services]
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(_forever(s.name, run)) for s in services for run in s.loops]
        loops += [group.create_task(_watch_lag(services))]
        serving = [group.create_task(server.serve()) for server in servers]
        while not all(server.started for server in servers):
            if any(task.done() for task in serving):
                raise UnavailableError(_no_port(services, servers))
            await asyncio.sleep(0.01)
        if started:
            started()
        await stop.wait()
        for service in reversed(services):
            for drain in service.on_stop:
                await drain()
        for server in servers:
            server.should_exit = True
        await asyncio.wait(serving)
        for task in loops:
            task.cancel()


def delivery_readiness(
    database: Database, consumers: Sequence[Consumer]
) -> dict[str, Callable[[], Awaitable[str | None]]]:
    """Readiness of what most services have: the database answers and no consumer has stopped."""

    async def database_answers() -> str | None:
        try:
            async with database.read() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except UnavailableError as error:
            return str(error)
        return None

    async def consumers_run() -> str | None:
        return next((c.stopped for c in consumers if c.stopped), None)

    return {"database": database_answers, "consumers": consumers_run}


def delivery_loops(
    database: Database, bus: EventBus, metrics: Metrics, consumers: Sequence[Consumer]
) -> list[Callable[[], Awaitable[None]]]:
    """The relay and the consumers of a service."""
    return [Relay(database, bus, metrics).run, *(consumer.run for consumer in consumers)]


def _server(service: Service) -> Server:
    return Server(
        uvicorn.Config(
            service.app,
            host=service.host,
            port=service.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
    )


async def _forever(service: str, run: Callable[[], Awaitable[None]]) -> None:
    try:
        await run()
    except Exception as error:
        log.error(
            "loop.failed",
            service=service,
            loop=getattr(run, "__qualname__", "?"),
            error=repr(error),
        )
        raise


async def _watch_lag(services: Sequence[Service]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.25)
        lag = time.perf_counter() - before - 0.25
        for service in services:
            service.metrics.loop_lag.set(max(lag, 0.0))


def _no_port(services: Sequence[Service], servers: Sequence[Server]) -> str:
    silent = [s for s, server in zip(services, servers, strict=True) if not server.started]
    names = ", ".join(
        f"{s.name} on {s.host}:{s.port} (setting LOOPWRIGHT_{s.name.upper()}_PORT)" for s in silent
    )
    return f"cannot listen: {names}"

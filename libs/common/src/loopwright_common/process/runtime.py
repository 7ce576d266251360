"""Run services: their HTTP servers and their loops, on one event loop, until told to stop.

A loop that fails ends the process, so that whoever started it notices and starts it anew.
"""

import argparse
import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.files.private import use_private_umask
from loopwright_common.observability import logs, tracing
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.http_server import http_server, listen
from loopwright_common.process.service import Service
from loopwright_common.settings import ServiceSettings

_DRAIN_SECONDS = 3.0
_PAUSE_SECONDS = 1.0
log = structlog.get_logger()


S = TypeVar("S", bound=ServiceSettings)
Build = Callable[[S, EventBus, contextlib.AsyncExitStack], Awaitable[Service]]


class LoopFailedError(LoopwrightError):
    """A loop that should run until told to stop ended with a fault of ours."""


NewLoop = Callable[[], asyncio.AbstractEventLoop]


def main(
    build: Build[S],
    settings: S,
    migrations: Path | None = None,
    new_loop: NewLoop = asyncio.new_event_loop,
) -> None:
    """Run one service as its own process until told to stop; status 1 with a last line if not.

    With `--migrate` it only brings its database up to date, by `migrations`.
    """
    gc.freeze()  # what was imported is garbage never, and looked at in vain, most of all at the end
    use_private_umask()
    logs.configure(settings.log_level)
    tracing.configure(settings.service, settings.otlp_endpoint)
    try:
        if migrations and _asked_to_migrate(settings.service):
            asyncio.run(_migrate(settings, migrations))
        else:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(_run_alone(build, settings))
    except LoopwrightError as error:
        raise SystemExit(str(error)) from None
    finally:
        tracing.shut_down()


def _asked_to_migrate(service: str) -> bool:
    parser = argparse.ArgumentParser(prog=f"loopwright-{service}", allow_abbrev=False)
    purpose = "bring the database up to date and end; a service that starts does so too"
    parser.add_argument("--migrate", action="store_true", help=purpose)
    return bool(parser.parse_args().migrate)


async def _migrate(settings: ServiceSettings, migrations: Path) -> None:
    database = await Database.open(settings.database_url, settings.service, migrations)
    log.info("database.up-to-date", service=settings.service, migrated=database.migrated)
    await database.close()


async def _run_alone(build: Build[S], settings: S) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bus = await open_bus(settings.bus_url, settings.topic_prefix)
        stack.push_async_callback(bus.close)
        await run([await build(settings, bus, stack)])


async def run(services: Sequence[Service], started: Callable[[], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then stop in reverse order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run_until(stop, services, started)


async def run_until(
    stop: asyncio.Event, services: Sequence[Service], started: Callable[[], None] | None = None
) -> None:
    """Serve until `stop` is set; LoopFailedError at the first loop that fails.

    UnavailableError, before anything has run, when a port is taken.
    """
    with contextlib.ExitStack() as stack:
        running = [_Running(service, stack) for service in services]
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_watch_lag(services))
                for each in running:
                    await each.start(group)
                if started:
                    started()
                await stop.wait()
                for each in reversed(running):
                    await each.stop()
                watch.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


class _Running:
    """A service with its listening socket, its server and its loops."""

    def __init__(self, service: Service, stack: contextlib.ExitStack) -> None:
        self._service = service
        self._socket = stack.enter_context(listen(service))
        for prepare in service.before_start:
            prepare()
        self._server = http_server(service)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, group: asyncio.TaskGroup) -> None:
        name = self._service.name
        self._serving = group.create_task(
            self._server.serve([self._socket, *self._service.sockets])
        )
        self._tasks = [group.create_task(_forever(name, run)) for run in self._service.loops]
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Answer what was asked, pass on what is held, and only then end the loops."""
        for tell in self._service.before_shutdown:
            tell()
        await asyncio.sleep(self._service.drain_delay)
        self._server.should_exit = True
        await asyncio.wait([self._serving])
        for drain in self._service.on_stop:
            await self._drain(drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self, drain: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await drain()
        except (LoopwrightError, TimeoutError) as error:
            log.warning("service.not-drained", service=self._service.name, error=repr(error))


async def _forever(service: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a loop, and once more after a passing fault; any other fault is ours."""
    name = getattr(run, "__qualname__", repr(run))
    while True:
        try:
            return await run()
        except UnavailableError as error:
            log.warning("loop.paused", service=service, loop=name, error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
        except Exception as error:
            log.error("loop.failed", service=service, loop=name, exc_info=error)
            raise LoopFailedError(f"{service}: {name} failed: {error!r}") from error


async def _watch_lag(services: Sequence[Service]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.25)
        lag = time.perf_counter() - before - 0.25
        for service in services:
            service.metrics.loop_lag.set(max(lag, 0.0))

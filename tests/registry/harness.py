"""The registry's consumers and whole replicas, driven by tests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from loopwright.ports import free_port
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.database.database import Database
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.events import Event, EventData
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_registry.main import build
from loopwright_registry.settings import RegistrySettings

Client = httpx.AsyncClient
Serve = Callable[..., Awaitable[Client]]
"""Starts one more replica with the given settings; returns a client of it."""


@asynccontextmanager
async def running_replica(
    bus: SqliteBus, tmp_path: Path, database_url: str, **given: Any
) -> AsyncGenerator[Client, None]:
    """A whole replica and a client of it."""
    settings = RegistrySettings(
        database_url=database_url, artifacts_url=f"file://{tmp_path}/artifacts", port=free_port(),
        **given,
    )  # fmt: skip
    stop, started = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await build(settings, bus, stack)
        replica = asyncio.create_task(runtime.run_until(stop, [service], started.set))
        await started.wait()
        async with Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=30) as client:
            yield client
            stop.set()
            await replica


class RegistryHarness:
    """The bus around a registry: other services publish, and one of its consumers handles it."""

    def __init__(self, database: Database, bus: SqliteBus, name: str, handlers: Handlers) -> None:
        self._bus = bus
        self._relay = OutboxRelay(database, bus, Metrics())
        self._consumer = Consumer(name, handlers, database, bus, Metrics())
        self._name = name
        self._topics = sorted({payload.topic for payload in handlers})

    async def deliver(self, *events: Event[EventData]) -> None:
        await self._bus.publish([encode(event) for event in events])
        while await self._relay.publish_some():
            pass
        subscription = await self._bus.subscribe(
            self._name, self._topics, self._consumer._load_positions
        )
        while await self._consumer.step(subscription, wait=0.01):
            pass
        await subscription.close()

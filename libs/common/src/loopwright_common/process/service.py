"""A service ready to run, and the parts that most services have."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from starlette.types import ASGIApp

from loopwright_common import clock
from loopwright_common.bus import EventBus
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, OutboxRelay, count_unpublished
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import Readiness
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.hardened_http import HardenedHttpProtocol
from loopwright_common.wording import counted

_RELAY_LAG = timedelta(seconds=30)


@dataclass(kw_only=True)
class Service:
    """A service ready to run: `loops` run until cancelled, anew after an UnavailableError.

    `before_start` takes what it listens on beside `port`, before anything runs;
    `before_shutdown` ends answers that would go on for ever, before the server waits for them;
    `on_stop` drains once the server is down, while the loops still run.
    """

    name: str
    app: ASGIApp
    host: str
    port: int
    metrics: Metrics
    guard: RequestGuard = field(default_factory=RequestGuard)
    """What the service's connections have to pass, and its app's requests too."""
    http: type[HardenedHttpProtocol] = HardenedHttpProtocol
    """What speaks HTTP on a connection."""
    shares_port: bool = False
    """Whether other processes listen there too, and the kernel deals connections out."""
    sockets: list[socket.socket] = field(default_factory=list)
    """Further sockets to serve on, already listening."""
    other_addresses: dict[str, str] = field(default_factory=dict)
    """Where it answers beside HTTP on `port`, by protocol."""
    drain_delay: float = 0.0
    """Seconds that new requests are answered once told to stop, so that others look elsewhere."""
    shutdown_grace: float = 2.0
    """Seconds that requests in flight may then take."""
    loops: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    before_start: list[Callable[[], object]] = field(default_factory=list)
    before_shutdown: list[Callable[[], None]] = field(default_factory=list)
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


def delivery_readiness(database: Database, consumers: Sequence[Consumer]) -> Readiness:
    """Readiness of what most services have: their database, their consumers and their relay."""

    async def database_answers() -> None:
        await database.check()

    async def consumers_run() -> str | None:
        return next((why for c in consumers if (why := c.trouble())), None)

    async def relay_keeps_up() -> str | None:
        async with database.read() as connection:
            count, oldest = await count_unpublished(connection)
        if oldest is None or clock.now() - oldest < _RELAY_LAG:
            return None
        why = f": {database.outbox_fault}" if database.outbox_fault else ""
        waiting = counted(count, "event")
        return f"{waiting} not published yet, the oldest of {clock.to_text(oldest)}{why}"

    return {
        "database": database_answers,
        "consumers": consumers_run,
        "relay": relay_keeps_up,
    }


def delivery_loops(
    database: Database, bus: EventBus, metrics: Metrics, consumers: Sequence[Consumer]
) -> list[Callable[[], Awaitable[None]]]:
    """The relay and the consumers of a service."""
    return [OutboxRelay(database, bus, metrics).run, *(consumer.run for consumer in consumers)]

"""A service of one consumer as people and probes see it, and its consumer driven by hand."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from loopwright_common.bus.interface import EventBus, Subscription
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery_api.dead_letters import create_delivery_router
from loopwright_common.errors import UnavailableError
from loopwright_common.events import CodeChanged, Event
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import delivery_readiness
from loopwright_common.web.app import add_routes, create_app
from tests.common.probe import service


class Person:
    """Somebody with an HTTP client."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, status: int = 200, **params: str | int) -> Any:
        return self._said(await self._http.get(path, params=params), status)

    async def post(self, path: str, status: int = 200, **body: object) -> Any:
        return self._said(await self._http.post(path, json=body), status)

    def _said(self, answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def person_at(database: Database, *consumers: Consumer) -> AsyncGenerator[Person, None]:
    app = create_app("probe", Metrics(), delivery_readiness(database, consumers))
    add_routes(app, create_delivery_router(database, consumers))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield Person(http)


@asynccontextmanager
async def joined(consumer: Consumer, bus: EventBus) -> AsyncGenerator[Subscription, None]:
    """A member of the consumer's group, whose steps the test takes."""
    subscription = await bus.subscribe(consumer.name, consumer.topics, consumer._load_positions)
    yield subscription
    await subscription.close()


async def catch_up(consumer: Consumer, subscription: Subscription) -> None:
    """Step until nothing is left, and until displaced members have gone back."""
    for _ in range(2):
        while await consumer.step(subscription, wait=0):
            pass


async def look(consumer: Consumer, subscription: Subscription) -> None:
    """What a running consumer does every few seconds, and when it is told to."""
    await consumer._is_stuck(subscription.assigned())


def junk(number: int) -> OutgoingRecord:
    return OutgoingRecord("code-changed", f"junk-{number}", {}, b"\xffjunk")


class Faulty:
    """A handler that fails with `error` for the keys that are `down`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or UnavailableError("the store is away")
        self.down: set[str] = set()

    async def on_code_changed(self, event: Event[CodeChanged], uow: UnitOfWork) -> None:
        if event.key in self.down:
            raise self.error
        await service.on_code_changed(event, uow)

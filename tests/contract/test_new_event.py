"""Adding an event takes its class: its topic, codec, delivery and published schema follow."""

from collections.abc import Generator

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents import event_schemas
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.events import EVENTS, TOPICS, Event, EventData
from loopwright_common.observability.metrics import Metrics
from tests.common.delivery_harness import catch_up, joined
from tests.common.probe import service

TOPIC = "flight-rebooked"


@pytest.fixture
def rebooked() -> Generator[type[EventData], None, None]:
    """An event class that nothing else has heard of."""

    class FlightRebooked(EventData):
        """A passenger goes by another flight."""

        topic = TOPIC
        flight: str

    yield FlightRebooked
    del EVENTS[TOPIC], TOPICS[TOPIC]


async def test_a_new_event_is_emitted_published_and_handled(
    rebooked: type[EventData], database_url: str, bus: SqliteBus
) -> None:
    heard: list[object] = []

    async def on_rebooked(event: Event[EventData], _uow: UnitOfWork) -> None:
        heard.append(event.data)

    database = await service.open_database(database_url)
    fact = rebooked.model_validate({"flight": "LH 1"})
    async with database.unit_of_work() as uow:
        await uow.emit(fact, key="LH 1", subject="flights/LH 1")
    await OutboxRelay(database, bus, Metrics()).publish_some()
    consumer = service.consumer(database, bus, {rebooked: on_rebooked})
    async with joined(consumer, bus) as subscription:
        await catch_up(consumer, subscription)
    await database.close()

    assert heard == [fact]


def test_its_schema_is_published(rebooked: type[EventData]) -> None:
    documents = event_schemas.documents()

    assert event_schemas.schema_path(rebooked.topic) in documents
    assert f"## {TOPIC}" in documents[event_schemas.DOCS / "events.md"]

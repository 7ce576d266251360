import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.topics import dead_letters_of, topic_of
from loopwright_common.database.database import Database
from loopwright_common.process.declare_topics import ensure_topics
from tests.common.buses import GROUP, TABLE, TOPIC, BusPlace
from tests.common.probe import service

_TOPICS = [topic_of(TOPIC), topic_of(TABLE), dead_letters_of(GROUP), dead_letters_of("watchers")]


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await service.open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def kafka_place(kafka_url: str) -> BusPlace:
    """Topics of this test's own, and only the few that tests of the bus use."""
    place = BusPlace(kafka_url, f"{uuid.uuid4().hex[:8]}.")
    await ensure_topics(place.url, place.prefix, _TOPICS)
    return place


@pytest.fixture(params=["sqlite-log", "kafka"])
def bus_place(request: pytest.FixtureRequest, tmp_path: Path) -> BusPlace:
    if request.param == "sqlite-log":
        return BusPlace(f"sqlite:///{tmp_path / 'bus'}")
    place: BusPlace = request.getfixturevalue("kafka_place")
    return place


@pytest.fixture
async def any_bus(bus_place: BusPlace) -> AsyncGenerator[EventBus, None]:
    """Every test that asks for it runs on every bus."""
    bus = await bus_place.open()
    yield bus
    await bus.close()

import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.topics import dead_letters_of, topic_of
from loopwright_common.database.database import Database
from loopwright_common.process.declare_topics import ensure_topics
from tests.common.bus_harness import GROUP, TABLE, TOPIC, BusAddress
from tests.common.probe import service

_TOPICS = [topic_of(TOPIC), topic_of(TABLE), dead_letters_of(GROUP), dead_letters_of("watchers")]


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    opened = await service.open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def kafka_address(kafka_url: str) -> BusAddress:
    """Topics of this test's own, and only the few that tests of the bus use."""
    address = BusAddress(kafka_url, f"{uuid.uuid4().hex[:8]}.")
    await ensure_topics(address.url, address.prefix, _TOPICS)
    return address


@pytest.fixture(params=["sqlite-log", "kafka"])
def bus_address(request: pytest.FixtureRequest, tmp_path: Path) -> BusAddress:
    if request.param == "sqlite-log":
        return BusAddress(f"sqlite:///{tmp_path / 'bus'}")
    address: BusAddress = request.getfixturevalue("kafka_address")
    return address


@pytest.fixture
async def any_bus(bus_address: BusAddress) -> AsyncGenerator[EventBus, None]:
    """Every test that asks for it runs on every bus."""
    bus = await bus_address.open()
    yield bus
    await bus.close()

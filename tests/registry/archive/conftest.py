"""The archive's consumer."""

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.delivery.handlers import bind
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.handlers import HANDLERS
from tests.registry.harness import RegistryHarness


@pytest.fixture
def registry(database: Database, bus: SqliteBus) -> RegistryHarness:
    return RegistryHarness(
        database, bus, "registry.archive", bind(HANDLERS, EventFeed(database, FeedLimits()))
    )

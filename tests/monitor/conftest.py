"""A monitor per test, on real files."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import numpy as np
import pyarrow as pa
import pytest

from loopwright_common.directory_store import DirectoryStore
from loopwright_common.sqlite_log import SqliteLog
from tests.monitor.house import House


@pytest.fixture
async def house(
    database_url: str, bus: SqliteLog, store: DirectoryStore
) -> AsyncGenerator[House, None]:
    async with AsyncExitStack() as stack:
        yield await House.open(stack, database_url, bus, store)


@pytest.fixture(scope="session")
def training() -> pa.Table:
    rng = np.random.default_rng(7)
    return pa.table(
        {
            "age": rng.normal(40, 10, 4000),
            "contact": rng.choice(["cellular", "unknown"], 4000, p=[0.1, 0.9]),
            "y": rng.choice(["no", "yes"], 4000, p=[0.9, 0.1]),
        }
    )

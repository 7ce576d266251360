"""Kill the process at every delivery failpoint: nothing is lost, nothing is done twice."""

import asyncio
import signal
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from loopwright_common.bus.topics import dead_letters_of, topic_of
from loopwright_common.cloudevents import codec
from loopwright_common.process.declare_topics import ensure_topics
from tests import forks
from tests.common.bus_harness import BusAddress, read_everything
from tests.common.probe import service
from tests.common.probe.process import facts
from tests.history import judge

WANTED = 12
TOPICS = ("code-changed", "retrain-requested")
FAILPOINTS = [
    "probe.before-commit:3",
    "probe.committed:1",
    "probe.committed:7",
    "probe.published:1",
    "probe.published:2",
    "probe.marked:1",
    "probe.worker.handled:1",
    "probe.worker.handled:2",
]
SAMPLE = ("probe.committed:7", "probe.published:2", "probe.worker.handled:1")
"""The failpoints that every test run tries on Kafka and PostgreSQL too."""
CASES = [
    *(pytest.param("embedded", each) for each in FAILPOINTS),
    *(
        pytest.param("distributed", each, marks=() if each in SAMPLE else pytest.mark.crash)
        for each in FAILPOINTS
    ),
]
Engines = tuple[str, BusAddress]


@pytest.fixture
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Engines:
    """A database and a bus: SQLite for both, or PostgreSQL and Kafka."""
    if request.param == "embedded":
        return f"sqlite:///{tmp_path}", BusAddress(f"sqlite:///{tmp_path}")
    address = BusAddress(request.getfixturevalue("kafka_url"), f"{uuid.uuid4().hex[:8]}.")
    topics = [*map(topic_of, TOPICS), dead_letters_of("probe.worker")]
    asyncio.run(ensure_topics(address.url, address.prefix, topics))
    return request.getfixturevalue("postgres_url"), address


@pytest.mark.parametrize(("engines", "failpoint"), CASES, indirect=["engines"])
async def test_a_kill_loses_no_event_and_repeats_no_effect(
    engines: Engines, failpoint: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert run(engines, failpoint, log) == -signal.SIGKILL, log.read_text()
    assert run(engines, "", log) == 0, log.read_text()

    database_url, address = engines
    database = await service.open_database(database_url)
    effects = await service.effects(database)
    await database.close()
    verdict = judge(facts(WANTED), effects)
    assert verdict.clean, verdict
    assert await distinct_ids(address, TOPICS) == [WANTED, WANTED]


def run(engines: Engines, failpoint: str, log: Path) -> int:
    """The status that it ended with."""
    database_url, address = engines
    process = forks.start(
        "tests.common.probe.process",
        *(database_url, address.url, address.prefix, WANTED),
        stdout=log,
        stderr=log,
        LOOPWRIGHT_FAILPOINT=failpoint,
    )
    return process.wait(120)


async def distinct_ids(address: BusAddress, topics: Sequence[str]) -> list[int]:
    bus = await address.open()
    found = [await read_everything(bus, topic) for topic in topics]
    await bus.close()
    return [len({codec.decode(record).id for record in records}) for records in found]

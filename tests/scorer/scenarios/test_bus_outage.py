"""The bus is away under load: answers go on, memory and disk stay bounded, every loss is told.

What the monitor finds missing is compared with what the replica says it dropped. Small buffers make
seconds of it; `make test-crash` has the bus away for a minute.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.bus.interface import from_start
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.bus.topics import all_topics
from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import OutgoingRecord, Record
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_monitor.watched.repository import WatchedModel, WatchedModels
from tests.engines import MortalKafka
from tests.monitor.harness import MonitorHarness
from tests.scorer.harness import MODEL_ID, ROW, Replica, ScorerHarness, eventually
from tests.scorer.recording.test_recorder import cut

SMALL: dict[str, Any] = {"record_buffer": 30_000, "record_rows": 5, "spill_limit": 20_000}
LEAST_RECORD = 600
"""Bytes that a record takes of the buffer, or more."""
Act = Callable[[], Awaitable[None]]


@dataclass
class Outage:
    """A scorer whose bus can be taken away and given back."""

    harness: ScorerHarness
    away: Act
    back: Act


@pytest.fixture(params=["sqlite", "kafka"])
async def outage(
    request: pytest.FixtureRequest,
    bus: SqliteBus,
    store: FilesystemStore,
    tmp_path: Path,
    package_dirs: dict[str, Path],
) -> AsyncGenerator[Outage]:
    harness = ScorerHarness(bus, store, tmp_path, package_dirs)
    if request.param == "sqlite":
        yield _of_sqlite(harness)
        return
    broker = MortalKafka(tmp_path / "kafka")
    await broker.comes_up()
    await ensure_topics(broker.url, "", all_topics())
    harness.bus = await open_bus(broker.url)

    async def kill() -> None:
        broker.kill()

    yield Outage(harness, kill, broker.comes_up)
    await harness.bus.close()
    broker.stop()


def _of_sqlite(harness: ScorerHarness) -> Outage:
    failing = cut(harness)
    failing.away = False

    async def turn(away: bool) -> None:
        failing.away = away

    return Outage(harness, lambda: turn(True), lambda: turn(False))


async def arrived(harness: ScorerHarness) -> list[Record]:
    """Every record of inference on the bus, repeats and all."""
    topics = [InferenceLogged.topic]
    ends = await harness.bus.ends(topics)
    subscription = await harness.bus.subscribe(None, topics, from_start)
    received = await subscription.fetch(10_000, 0)
    while not await subscription.has_reached(ends):
        received += await subscription.fetch(10_000, 0.1)
    await subscription.close()
    return list(received)


def by_number(records: list[Record]) -> dict[int, InferenceLogged]:
    events = [codec.decode(record).data for record in records]
    return {batch.sequence: batch for batch in events if isinstance(batch, InferenceLogged)}


async def monitored(records: list[Record], directory: Path) -> WatchedModel:
    """What a monitor finds in the records, as they came."""
    async with AsyncExitStack() as stack:
        log = await SqliteBus.open(directory / "log")
        stack.push_async_callback(log.close)
        store = FilesystemStore(directory / "store")
        house = await MonitorHarness.open(stack, f"sqlite:///{directory / 'database'}", log, store)
        await log.publish([OutgoingRecord(r.topic, r.key, r.headers, r.value) for r in records])
        await house.consume("detect")
        async with house.database.read() as connection:
            model = await WatchedModels(connection).get(MODEL_ID)
    assert model is not None
    return model


def rows(replica: Replica, what: str) -> int:
    return int(replica.metric(f"loopwright_inference_rows_{what}_total"))


@dataclass
class Load:
    """Calls one after the other; what is kept of them has to stay within its bounds."""

    replica: Replica
    directory: Path
    limits: dict[str, Any]
    answered: int = 0

    async def call(self, seconds: float, until: Callable[[], bool] = lambda: True) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end or not until():
            assert (await self.replica.infer(ROW)).status_code == 200
            self.answered += 1
            self.check_bounds()
            await asyncio.sleep(0.01)

    async def nothing_on_disk(self) -> bool:
        return not self._spilled()

    def check_bounds(self) -> None:
        spilled = sum(path.stat().st_size for path in self._spilled())
        assert spilled <= self.limits["spill_limit"]
        settled = sum(rows(self.replica, what) for what in ("logged", "spilled", "dropped"))
        assert (self.answered - settled) * LEAST_RECORD <= self.limits["record_buffer"]

    def _spilled(self) -> list[Path]:
        return list(self.directory.rglob("*.batch"))


async def runs_through(outage: Outage, seconds: float, limits: dict[str, Any]) -> None:
    harness = outage.harness
    async with harness.replica(**limits) as replica:
        load = Load(replica, harness.directory, limits)
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        await load.call(0.3)
        await outage.away()
        await load.call(seconds, lambda: rows(replica, "dropped") > 0)
        await outage.back()

        async def nothing_waits() -> bool:
            return replica.metric("loopwright_inference_spill_batches") == 0

        # One that is slow to come back may have more dropped, which the next record tells.
        for _ in range(2):
            await eventually(nothing_waits)
            await load.call(0.2)
    dropped = rows(replica, "dropped")
    # A bus that is slow to come back may not take the last ones before the replica ends.
    async with harness.replica(**limits):
        await eventually(load.nothing_on_disk)

    records = await arrived(harness)
    received = by_number(records)
    model = await monitored(records, harness.directory / "monitor")
    assert sum(batch.table.num_rows for batch in received.values()) == load.answered - dropped
    assert model.rows == load.answered - dropped
    assert model.dropped == dropped > 0
    assert model.missed == max(received) + 1 - len(received)
    assert model.unknown_tails == 0


async def test_the_monitor_misses_exactly_what_was_dropped_while_the_bus_was_away(
    outage: Outage,
) -> None:
    await runs_through(outage, 1.0, SMALL)


@pytest.mark.crash
@pytest.mark.timeout(900)
async def test_a_minute_without_the_bus(outage: Outage) -> None:
    await runs_through(outage, 60.0, {**SMALL, "record_buffer": 2 << 20, "spill_limit": 400_000})

"""Publish to handled: an event through outbox, relay, bus and consumer, its time and the rate.

A service that, for each event, notes a row and emits another event, in one transaction with the
inbox row and the position. Beside it, in the same run, the bare transaction of that shape: the same
four statements through SQLAlchemy alone, without bus, relay and consumer.

    python -m benchmarks.bus [--engine embedded|kafka] [--events 4000] [--rounds 5]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from loopwright.engines import Kafka, Postgres
from loopwright_common import clock
from loopwright_common.bus import all_topics
from loopwright_common.database import Database, UnitOfWork, inbox, outbox, positions, upsert
from loopwright_common.delivery import Consumer, OutboxRelay
from loopwright_common.events import CodeChanged, Event, RetrainRequested
from loopwright_common.ids import new_id
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics

_KEYS = 100
_PACE = 0.02
_CONSUMER = "bench.worker"
_metadata = sa.MetaData()
_notes = sa.Table(
    "notes",
    _metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False),
)


@dataclass(slots=True)
class Bench:
    """A service and what it has handled: the moment each event's transaction had committed."""

    database: Database
    bus_url: str
    handled: dict[str, float] = field(default_factory=dict)

    async def tell(self, count: int) -> list[str]:
        """Emit events of different keys in one transaction; returns their ids."""
        async with self.database.unit_of_work() as uow:
            return [(await _emit(uow, number)).id for number in range(count)]

    @asynccontextmanager
    async def working(self, *, sharing: bool) -> AsyncGenerator[None, None]:
        """Relay and consumer run; records share a transaction, or have one each."""
        bus = await open_bus(self.bus_url)
        consumer = Consumer(
            _CONSUMER,
            {CodeChanged: self._note},
            self.database,
            bus,
            Metrics(),
            batch=100,
            sharing=sharing,
        )
        relay = OutboxRelay(self.database, bus, Metrics())
        tasks = [asyncio.create_task(run()) for run in (relay.run, consumer.run)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await bus.close()

    async def until_handled(self, ids: list[str]) -> None:
        async with asyncio.timeout(120):
            while not self.handled.keys() >= set(ids):  # noqa: ASYNC110  (looks, adds no work)
                await asyncio.sleep(0.005)

    async def _note(self, event: Event[CodeChanged], uow: UnitOfWork) -> None:
        await uow.connection.execute(sa.insert(_notes).values(id=event.id, key=event.key))
        answer = RetrainRequested(pipeline=event.key, reason="person", requested_by="bench")
        await uow.emit(answer, key=event.key, subject=f"pipelines/{event.key}")
        uow.after_commit.append(lambda: self._count(event.id))

    def _count(self, event_id: str) -> None:
        self.handled.setdefault(event_id, time.perf_counter())


async def _emit(uow: UnitOfWork, number: int) -> Event[CodeChanged]:
    key = f"key-{number % _KEYS}"
    data = CodeChanged(repository=key, ref="refs/heads/main", commit=str(number))
    return await uow.emit(data, key=key, subject=f"repositories/{key}")  # type: ignore[return-value]


async def latencies(bench: Bench, count: int) -> list[float]:
    """Milliseconds from before the emitting transaction to after the handling one, at 50/s."""
    told: dict[str, float] = {}
    async with bench.working(sharing=True):
        await bench.until_handled(await bench.tell(10))
        for _ in range(count):
            started = time.perf_counter()
            [event_id] = await bench.tell(1)
            told[event_id] = started
            await asyncio.sleep(max(0.0, started + _PACE - time.perf_counter()))
        await bench.until_handled(list(told))
    return [1e3 * (bench.handled[event_id] - started) for event_id, started in told.items()]


async def throughput(bench: Bench, count: int, *, sharing: bool) -> float:
    """Events per second from a full outbox to the last one handled."""
    ids = [event_id for _ in range(count // 500) for event_id in await bench.tell(500)]
    started = time.perf_counter()
    async with bench.working(sharing=sharing):
        await bench.until_handled(ids)
        return len(ids) / (time.perf_counter() - started)


async def bare(database: Database, count: int) -> float:
    """Transactions per second of the same four rows, one worker, nothing else."""
    started = time.perf_counter()
    for number in range(count):
        async with database.unit_of_work() as uow:
            place = {"consumer": "bare", "topic": "bare", "partition": 0, "next_offset": number}
            claim = {"consumer": "bare", "event_id": new_id(), "handled_at": clock.now()}
            await upsert(uow.connection, inbox, claim)
            await uow.connection.execute(sa.insert(_notes).values(id=new_id(), key="bare"))
            await uow.connection.execute(sa.insert(outbox).values(**_row()))
            await upsert(uow.connection, positions, place, update=("next_offset",))
    return count / (time.perf_counter() - started)


def _row() -> dict[str, object]:
    """An outbox row as of an event that has been published."""
    return {
        "id": new_id(),
        "aggregatetype": "retrain-requested",
        "aggregateid": "bare",
        "type": "bare",
        "payload": b"x" * 120,
        "headers": {f"ce_{n}": "x" * 30 for n in range(10)},
        "created_at": clock.now(),
        "published_at": clock.now(),
    }


@asynccontextmanager
async def engine_at(name: str, place: Path) -> AsyncGenerator[Bench, None]:
    """A new database and a new bus on the engine."""
    with ExitStack() as stack:
        if name == "embedded":
            database_url = bus_url = f"sqlite:///{place / 'data'}"
        else:
            kafka, postgres = Kafka(place / "kafka"), Postgres(place / "postgres")
            for engine in (kafka, postgres):
                engine.start()
                stack.callback(engine.stop)
            database_url, bus_url = postgres.url, kafka.url
            await ensure_topics(bus_url, topics=all_topics([_CONSUMER]))
        (place / "versions").mkdir()
        database = await Database.open(database_url, "bench", place / "versions")
        async with database.unit_of_work() as uow:
            await uow.connection.run_sync(_metadata.create_all)
        try:
            yield Bench(database, bus_url)
        finally:
            await database.close()


async def main(engine: str, events: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with engine_at(engine, Path(place)) as bench:
            times = await latencies(bench, 500)
            rates: dict[str, list[float]] = {"bare": [], "single": [], "shared": []}
            for _ in range(rounds):
                rates["bare"].append(await bare(bench.database, events // 4))
                rates["single"].append(await throughput(bench, events, sharing=False))
                rates["shared"].append(await throughput(bench, events, sharing=True))
    _report(engine, times, rates)


def _report(engine: str, times: list[float], rates: dict[str, list[float]]) -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"engine {engine}")
    print(f"publish to handled at 50/s, ms: p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}")
    print(f"{'per second':44}{'min':>8}{'median':>8}{'max':>8}")
    names = {
        "bare": "bare transactions, one worker",
        "single": "handled events, a transaction each",
        "shared": "handled events, sharing transactions",
    }
    for kind, name in names.items():
        values = rates[kind]
        row = (min(values), statistics.median(values), max(values))
        print(f"{name:44}" + "".join(f"{value:8.0f}" for value in row))
    for kind in ("single", "shared"):
        ratios = [ours / bare for ours, bare in zip(rates[kind], rates["bare"], strict=True)]
        print(
            f"{names[kind] + ', to bare':44}"
            f"{min(ratios):8.2f}{statistics.median(ratios):8.2f}{max(ratios):8.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    asyncio.run(main(given.engine, given.events, given.rounds))

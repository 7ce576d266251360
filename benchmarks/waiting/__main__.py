"""What deployments that wait cost the deployer, and how soon it acts on one of them.

A deployer as a process of its own on Kafka, with SQLite or PostgreSQL, has deployments in flight
that all wait: canaries for evidence, others for an approval, their turn, a person or the package
index. One scorer replica reports, and counts calls of every arm each second while there is traffic.
CPU is the process's, in shares of one core. Times are from the moment an event was sent, or from
the deadline, to that at which what follows was read from Kafka.

    python -m benchmarks.waiting [--database sqlite|postgresql] [--deployments 1000] [--models 200]
        [--busy 200] [--profile FILE]
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.waiting.seeding import Seeded, Wait, model_name, seed, set_deadlines
from benchmarks.waiting.traffic import Replica
from loopwright.engines import Kafka, Postgres
from loopwright_common import clock
from loopwright_common.bus import EventBus, from_start
from loopwright_common.cloudevents import codec
from loopwright_common.database import Database
from loopwright_common.events import DeploymentChanged, Event, ModelRegistered
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.main import MIGRATIONS
from loopwright_scorer.new_event import new_event

_SETTLE_SECONDS = 15.0
_QUIET_SECONDS = 15.0
_BUSY_SECONDS = 25.0
_FAULTS = 40
_DEADLINES = 50
_UNREADABLE = 100
_READABLE = 8
_LONGEST = 30.0


@dataclass(slots=True)
class Heard:
    """When each deployment came into a state, as read from Kafka: seconds since the epoch."""

    states: dict[tuple[str, str], float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, bus: EventBus) -> None:
        subscription = await bus.subscribe(None, [DeploymentChanged.topic], from_start)
        try:
            while True:
                for record in await subscription.fetch(500, 0.5):
                    changed: Event[DeploymentChanged] = codec.decode(record)  # type: ignore[assignment]
                    one = changed.data
                    for name in (one.deployment_id, f"{one.model}/{one.version}"):
                        self.states.setdefault((name, one.state), time.time())
                    self.news.set()
        finally:
            await subscription.close()

    async def reached(self, names: Sequence[str], state: str) -> list[float]:
        """When each came into the state; infinite where it has not within half a minute."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST):
                while not all((name, state) in self.states for name in names):
                    self.news.clear()
                    await self.news.wait()
        return [self.states.get((name, state), float("inf")) for name in names]


@dataclass(slots=True)
class Measured:
    """CPU of the deployer in shares of a core, and seconds of each kind of transition."""

    cpu: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)


class Deployer:
    """The deployer's process, and the engine's beside it."""

    def __init__(self, place: Path, database_url: str, bus_url: str, profile: Path | None) -> None:
        settings = {
            "DATABASE_URL": database_url,
            "BUS_URL": bus_url,
            "ARTIFACTS_URL": f"file://{place / 'artifacts'}",
            "DEPLOYER_WORK_DIR": str(place / "work"),
            "DEPLOYER_WARM_PROCESSES": "false",
            "DEPLOYER_PORT": "0",
            "LOG_LEVEL": "warning",
        }
        environment = {f"LOOPWRIGHT_{name}": value for name, value in settings.items()}
        profiled = ["-m", "cProfile", "-o", str(profile)] if profile else []
        self._log = (place / "deployer.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, *profiled, "-m", "loopwright_deployer.main"],
            env={**os.environ, **environment},
            stderr=self._log,
            stdout=self._log,
        )
        self._seen = psutil.Process(self._process.pid)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self._seen.cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


async def main(engine: str, in_flight: int, models: int, busy: int, profile: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        async with engines(engine, place) as (database_url, bus_url):
            database = await Database.open(database_url, "deployer", MIGRATIONS)
            seeded = await seed(database, models, in_flight)
            waits = timedelta(seconds=_SETTLE_SECONDS + _QUIET_SECONDS + 3)
            late = await set_deadlines(
                database, seeded.waiting[Wait.APPROVAL][:_DEADLINES], clock.now() + waits
            )
            await database.close()
            deployer = Deployer(place, database_url, bus_url, profile)
            try:
                measured = await measure(deployer, bus_url, place, seeded, late, busy)
            finally:
                deployer.stop()
    report(engine, in_flight, models, measured)


@asynccontextmanager
async def engines(name: str, place: Path) -> AsyncGenerator[tuple[str, str], None]:
    """The URLs of a new database and a new Kafka."""
    with ExitStack() as stack:
        kafka = Kafka(place / "kafka")
        kafka.start()
        stack.callback(kafka.stop)
        database_url = f"sqlite:///{place / 'data'}"
        if name == "postgresql":
            postgres = Postgres(place / "postgres")
            postgres.start()
            stack.callback(postgres.stop)
            database_url = postgres.url
        await ensure_topics(kafka.url)
        yield database_url, kafka.url


async def measure(
    deployer: Deployer,
    bus_url: str,
    place: Path,
    seeded: Seeded,
    late: Mapping[str, datetime],
    busy: int,
) -> Measured:
    bus, measured, heard = await open_bus(bus_url), Measured(), Heard()
    replica = Replica(bus)
    loops = [asyncio.create_task(each) for each in (replica.run(), heard.follow(bus))]
    try:
        await asyncio.sleep(_SETTLE_SECONDS)
        measured.cpu["without traffic"] = await _cpu(deployer, _QUIET_SECONDS)
        replica.busy = busy
        sampled = asyncio.create_task(_cpu(deployer, _BUSY_SECONDS))
        measured.seconds["a deadline, to its event"] = await _deadlines(heard, late)
        measured.cpu[f"with calls of {busy} models a second"] = await sampled
        measured.seconds |= await _faults(replica, heard, seeded)
        measured.seconds |= await _registrations(bus, heard, place)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await bus.close()
    return measured


async def _cpu(deployer: Deployer, seconds: float) -> str:
    began, before = time.perf_counter(), deployer.cpu()
    await asyncio.sleep(seconds)
    share = (deployer.cpu() - before) / (time.perf_counter() - began)
    return f"{share:.2f} (load {os.getloadavg()[0]:.1f})"


async def _deadlines(heard: Heard, late: Mapping[str, datetime]) -> list[float]:
    ends = [end.timestamp() for end in late.values()]
    return _after(ends, await heard.reached(list(late), "paused"))


async def _faults(replica: Replica, heard: Heard, seeded: Seeded) -> dict[str, list[float]]:
    """Canaries fail, one after another; and the version that waited behind each begins."""
    canaries, turns = seeded.waiting[Wait.TRAFFIC], seeded.waiting[Wait.TURN]
    count = min(_FAULTS, len(canaries))
    told = []
    for number in range(count):
        told.append(await replica.fail(model_name(number)))
        await asyncio.sleep(0.25)
    ends = await heard.reached(canaries[:count], "rolled-back")
    found = {"counters of a failing canary, to its end": _after(told, ends)}
    if turns:
        begun = await heard.reached(turns[:count], "canary")
        found["the end of a canary, to the next one's begin"] = _after(ends, begun)
    return found


async def _registrations(bus: EventBus, heard: Heard, place: Path) -> dict[str, list[float]]:
    digest = await _damaged_package(place / "artifacts")
    alone = await _until_packaging(bus, heard, "alone", digest)
    unreadable = [_registered(f"unreadable-{n}", digest, {"keep": 0}) for n in range(_UNREADABLE)]
    await bus.publish(unreadable)
    told = time.time()
    behind = await _until_packaging(bus, heard, "behind", digest)
    ends = await heard.reached([f"unreadable-{n}/1" for n in range(_UNREADABLE)], "rejected")
    return {
        "a registration, to its packaging": alone,
        f"the same behind {_UNREADABLE} unreadable policies": behind,
        "an unreadable policy, to its rejection": _after([told] * _UNREADABLE, ends),
    }


async def _until_packaging(bus: EventBus, heard: Heard, name: str, digest: str) -> list[float]:
    told = []
    for number in range(_READABLE):
        told.append(time.time())
        await bus.publish([_registered(f"{name}-{number}", digest, None)])
        await asyncio.sleep(0.2)
    names = [f"{name}-{number}/1" for number in range(_READABLE)]
    return _after(told, await heard.reached(names, "packaging"))


async def _damaged_package(artifacts: Path) -> str:
    """A digest whose bytes are others by now: the version is rejected as soon as it is opened."""
    blob = await FilesystemStore(artifacts).put(b'{"files": []}')
    next((artifacts / "sha256").rglob(blob.digest[7:])).write_bytes(b"damaged")
    return blob.digest


def _registered(name: str, digest: str, deploy: dict[str, object] | None):  # type: ignore[no-untyped-def]
    data = ModelRegistered(
        model_id=name, model=name, version=1, digest=digest, location="x", format="onnx",
        deploy=deploy,
    )  # fmt: skip
    return new_event(data, key=name, subject=f"models/{name}/versions/1")


def _after(begins: Sequence[float], ends: Sequence[float]) -> list[float]:
    return [end - begin for begin, end in zip(begins, ends, strict=True)]


def report(engine: str, in_flight: int, models: int, measured: Measured) -> None:
    print(f"{in_flight} deployments in flight over {models} models, {engine}")
    for when, share in measured.cpu.items():
        print(f"deployer, cores {when}: {share}")
    print(f"{'milliseconds':50}{'n':>5}{'p50':>9}{'p99':>9}{'most':>9}")
    for name, seconds in measured.seconds.items():
        if seconds:
            p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
            told = (statistics.median(seconds), p99, max(seconds))
            print(f"{name:50}{len(seconds):5}" + "".join(f"{1e3 * one:9.0f}" for one in told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--busy", type=int, help="models with calls each second; all unless told")
    parser.add_argument("--profile", type=Path, help="where to write what cProfile found")
    given = parser.parse_args()
    busy = given.models if given.busy is None else given.busy
    asyncio.run(main(given.database, given.deployments, given.models, busy, given.profile))

"""A whole deployer as a process of its own: DIR DATABASE_URL ARTIFACTS.

Beside it stands one scorer replica that serves whatever is routed, and has answered every version
of it well a thousand times. Each process has a log of its own, since SQLite's log has one reader.
"""

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from loopwright_common import clock
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.events import ReplicaReported, ServedRoute, ServingMeasured
from loopwright_common.observability import logs
from loopwright_common.process.runtime import run_until
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.main import MIGRATIONS, build
from loopwright_deployer.routing.routes import RouteRevisions, RouteRow
from loopwright_deployer.settings import DeployerSettings
from tests.deployer.builders import event_of

CALLS = 1000


async def main(directory: Path, database_url: str, artifacts: str) -> None:
    settings = DeployerSettings(
        database_url=database_url,
        artifacts_url=f"file://{artifacts}",
        work_dir=directory / "work",
        warm_processes=False,
        port=0,
    )
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(directory / "log")
        database = await Database.open(database_url, "deployer", MIGRATIONS)
        service = await build(settings, bus, stack)
        service.loops.append(partial(_serve_all, database, bus))
        await run_until(asyncio.Event(), [service])


async def _serve_all(database: Database, bus: SqliteBus) -> None:
    while True:
        # The server ends a transaction in which the process was put to sleep.
        with suppress(UnavailableError):
            await _serve(database, bus)
        await asyncio.sleep(0.1)


async def _serve(database: Database, bus: SqliteBus) -> None:
    async with database.unit_of_work() as uow:
        rows = await RouteRevisions(uow.connection).all()
        for measured in [measured for row in rows for measured in _measured(row)]:
            await CanaryCounters(uow.connection).merge(measured)
    served = [ServedRoute(model_id=r.model_id, revision=r.route.revision) for r in rows]
    report = ReplicaReported(
        replica="r1", epoch="e1", environment="production", at=clock.now(), routes=served
    )
    await bus.publish([encode(event_of(report, "r1"))])


def _measured(row: RouteRow) -> list[ServingMeasured]:
    return [
        ServingMeasured(
            environment=row.environment, model_id=row.model_id, model=row.model, replica="r1",
            epoch="e1", revision=row.route.revision, version=arm.version, role="live",
            calls=CALLS, rows=CALLS, errors=0, latency_edges=[0.1], latency_counts=[CALLS, 0],
        )
        for arm in row.route.arms
    ]  # fmt: skip


if __name__ == "__main__":
    logs.configure("info")
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

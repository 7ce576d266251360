"""A trainer in a process of its own that a test may kill: runs until one run has ended.

With `DRIVER_DIES_AFTER` in its environment a failpoint waits until that file says something.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import httpx

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.sandbox import Level, detect
from loopwright_trainer import main
from loopwright_trainer.main import MIGRATIONS, assemble
from loopwright_trainer.runs.domain import Repository
from loopwright_trainer.runs.repository import PipelineRuns, Repositories
from loopwright_trainer.runs.service import add_repository
from loopwright_trainer.tracking.client import TrackingClient
from tests.leases import LEASE_SECONDS, expire_leases
from tests.trainer.harness import settings_for


async def drive(directory: Path, registry: str, url: str) -> None:
    database_url = os.environ["LOOPWRIGHT_DATABASE_URL"]
    settings = settings_for(directory, database_url=database_url, lease_seconds=LEASE_SECONDS)
    bus = await SqliteBus.open(directory / "bus")
    database = await Database.open(settings.database_url, "trainer", MIGRATIONS)
    await expire_leases(database)  # of the one that was killed
    async with httpx.AsyncClient(base_url=registry) as client:
        service = assemble(settings, bus, database, TrackingClient(client))
        if await _repository(database) is None:
            async with database.unit_of_work() as uow:
                await add_repository(uow, "toy", url, "main")
        loops = [asyncio.ensure_future(loop()) for loop in service.loops]
        print(json.dumps(await _ended(database)))  # noqa: T201  (read by the test)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    await database.close()
    await bus.close()


async def _repository(database: Database) -> Repository | None:
    async with database.read() as connection:
        return await Repositories(connection).get("toy")


async def _ended(database: Database) -> dict[str, object]:
    """The first run that ended, once everything it says is published."""
    while True:
        await asyncio.sleep(0.02)
        async with database.read() as connection:
            ended = [
                run
                for run in await PipelineRuns(connection).page(None, 10, None, None)
                if run.ended
            ]
            unpublished = await connection.exec_driver_sql(
                "SELECT count(*) FROM outbox WHERE published_at IS NULL"
            )
            if ended and unpublished.scalar() == 0:
                return {"status": ended[0].status, "why": ended[0].why, "id": ended[0].id}


def die_after(path: Path) -> None:
    """Hold back what a failpoint does until a stage has written to the file."""
    kill = os.kill

    def patiently(pid: int, number: int) -> None:
        while pid == os.getpid() and not (path.exists() and path.read_text()):
            time.sleep(0.01)
        kill(pid, number)

    os.kill = patiently


if __name__ == "__main__":
    if "DRIVER_LEVEL" in os.environ:
        weaker = detect(Level(os.environ["DRIVER_LEVEL"]))
        setattr(main, "require", lambda _: weaker)  # noqa: B010  (it does not offer it)
    if "DRIVER_DIES_AFTER" in os.environ:
        die_after(Path(os.environ["DRIVER_DIES_AFTER"]))
    asyncio.run(drive(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

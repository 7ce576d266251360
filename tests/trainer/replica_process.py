"""One of several trainers on one database, in a process of its own: does runs until it is killed.

HOST is what it takes its machine's name to be; of that machine it sees its own processes alone.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil


async def work(directory: Path, registry: str) -> None:
    import httpx
    from prometheus_client import CollectorRegistry

    from loopwright_common.database.database import Database
    from loopwright_trainer.execution.worker import RunWorker
    from loopwright_trainer.main import MIGRATIONS, open_run_context
    from loopwright_trainer.metrics import TrainerMetrics
    from loopwright_trainer.tracking.client import TrackingClient
    from tests.leases import LEASE_SECONDS
    from tests.trainer.harness import settings_for

    settings = settings_for(
        directory.parent,
        directory=directory,
        database_url=os.environ["LOOPWRIGHT_DATABASE_URL"],
        lease_seconds=LEASE_SECONDS,
    )
    database = await Database.open(settings.database_url, "trainer", MIGRATIONS)
    async with httpx.AsyncClient(base_url=registry) as client:
        context = open_run_context(
            settings, database, TrackingClient(client), TrainerMetrics(CollectorRegistry())
        )
        await RunWorker(context, settings.parallel_runs, settings.lease).run()


def _own_processes() -> Iterator[psutil.Process]:
    return iter(psutil.Process().children(recursive=True))


if __name__ == "__main__":
    host = sys.argv[3]
    socket.gethostname = lambda: host
    # Nor does it see what runs on other hosts.
    setattr(psutil, "process_iter", _own_processes)  # noqa: B010  (it is more than a function)
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))

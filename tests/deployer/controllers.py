"""A controller at work, without the service around it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.egress.rules import EgressRules
from loopwright_common.events import ReplicaReported, RowsCaptured
from loopwright_common.sandbox import detect
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.controller import DeploymentController
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.staging.checks.base import StagingCheck
from loopwright_deployer.staging.checks.registry import CHECKS
from loopwright_deployer.staging.runner import StagingOptions, StagingRunner
from tests.deployer.lifecycle import latest

HOUR = timedelta(hours=1)


def staging_runner(
    directory: Path,
    *,
    outage_limit: timedelta = HOUR,
    checks: Sequence[StagingCheck] = CHECKS,
    pickles: bool = False,
    index_access: IndexAccess | None = None,
    webhook_rules: EgressRules | None = None,
    time_limit: float = 300,
) -> StagingRunner:
    """Without warm processes, over the store `directory/artifacts`; nothing is `captured`."""
    options = StagingOptions(
        work_dir=directory / "work",
        warm_processes=False,
        time_limit=time_limit,
        outage_limit=outage_limit,
        may_unpickle=lambda _model: pickles,
        sandbox=detect(),
        memory=8 << 30,
        index_access=index_access or IndexAccess(),
        webhook_rules=webhook_rules or EgressRules(),
    )
    return StagingRunner(
        options, FilesystemStore(directory / "artifacts"), nothing_captured(), checks
    )


def nothing_captured() -> TableReader[RowsCaptured]:
    """What a bus without such events says."""
    table = TableReader(cast("EventBus", None), RowsCaptured)  # it is not run
    table.ready.set()
    return table


@asynccontextmanager
async def working(
    database: Database, bus: EventBus, directory: Path, **staging_options: Any
) -> AsyncGenerator[DeploymentController]:
    """A controller at work over the store `directory/artifacts`, until the end."""
    replicas = TableReader(bus, ReplicaReported)
    staging = staging_runner(directory, **staging_options)
    worker = DeploymentController(database, staging, replicas)
    tasks = [asyncio.create_task(worker.run()), asyncio.create_task(replicas.run())]
    try:
        yield worker
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await staging.close()


async def until(database: Database, version: int, *states: DeploymentState) -> DeploymentRecord:
    """The deployment of the version once it is in one of the states."""
    record = await latest(database, version)
    for _ in range(4800):
        if record.deployment.state in states:
            return record
        await asyncio.sleep(0.05)
        record = await latest(database, version)
    pytest.fail(f"version {version} is {record.deployment.state}: {record.deployment.waits}")

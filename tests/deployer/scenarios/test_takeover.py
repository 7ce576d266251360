"""Deployers as processes on one PostgreSQL: one dies or sleeps, and another one goes on."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from loopwright_common.database import leases
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.ownership import lease_name
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.tables import deployments
from loopwright_deployer.packaging.build import PackagingJob, build_package
from loopwright_deployer.routing.routes import RouteRevisions
from tests import forks
from tests.deployer.builders import COLUMNS, MODEL_ID, graph_of, onnx_package, pipeline
from tests.deployer.lifecycle import latest, lead_to
from tests.leases import LEASE_SECONDS, expire_leases, for_sleepers

JOURNEY = [
    "received", "packaging", "staging", "validated", "canary", "canary", "promoting", "promoted"
]  # fmt: skip
KILLED_AT = [
    "deployer.packaged",
    "deployer.staged",
    "deployer.canary",
    "deployer.routed:2",
    "deployer.promoted",
]
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@dataclass
class TakeoverHarness:
    """A champion, a version to deploy, and deployers that share both."""

    directory: Path
    database_url: str
    database: Database
    record: DeploymentRecord
    running: list[forks.ForkedProcess] = field(default_factory=list)

    def start(self, name: str, failpoint: str = "") -> forks.ForkedProcess:
        work = self.directory / name
        work.mkdir()
        process = forks.start(
            "tests.deployer.deployer_process",
            *(work, self.database_url, self.directory / "artifacts"),
            stdout=work / "stdout",
            stderr=work / "stderr",
            LOOPWRIGHT_FAILPOINT=failpoint,
            LOOPWRIGHT_DEPLOYER_LEASE_SECONDS=str(LEASE_SECONDS),
        )
        self.running.append(process)
        return process

    def logged(self, name: str, word: str) -> Callable[[], Awaitable[bool]]:
        async def found() -> bool:
            return word in (self.directory / name / "stderr").read_text()

        return found

    def works(self, process: forks.ForkedProcess) -> Callable[[], Awaitable[bool]]:
        async def has_the_lease() -> bool:
            assert process.poll() is None or process.returncode == -signal.SIGKILL
            name = lease_name(self.record.deployment.id)
            async with self.database.read() as connection:
                holding = (await leases.lease_holders(connection, [name])).get(name)
            return holding is not None and holding.holder.endswith(f"/{process.pid}")

        return has_the_lease

    async def is_promoted(self) -> bool:
        return (await latest(self.database, 2)).deployment.state is DeploymentState.PROMOTED

    async def count_events(self, topic: str) -> int:
        query = sa.select(sa.func.count()).where(outbox.c.aggregatetype == topic)
        mine = query.where(outbox.c.aggregateid == self.record.deployment.key)
        async with self.database.read() as connection:
            return await connection.scalar(mine) or 0

    async def story(self) -> list[str]:
        async with self.database.read() as connection:
            steps = await Deployments(connection).history(self.record.deployment.id)
        return [str(step.state) for step in steps]


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(240):
        while not await what():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@contextmanager
def asleep(process: forks.ForkedProcess) -> Generator[None, None, None]:
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = graph_of(pipeline(), options={"zipmap": False})
    return onnx_package(tmp_path_factory.mktemp("packages") / "onnx", content, COLUMNS)


@pytest.fixture
async def harness(
    tmp_path: Path, database_url: str, database: Database, store: FilesystemStore, package: Path
) -> AsyncGenerator[TakeoverHarness, None]:
    """Version 1 is champion, version 2 is registered."""
    digest = await store_package(store, package)
    build_package(PackagingJob(package, tmp_path / "serving", digest))
    served = await store_package(store, tmp_path / "serving")
    await lead_to(database, 1, DeploymentState.PROMOTED)
    async with database.unit_of_work() as uow:
        await uow.connection.execute(sa.update(deployments).values(serving_digest=served))
    record = await lead_to(database, 2, DeploymentState.RECEIVED, digest=digest, format="onnx")
    harness = TakeoverHarness(tmp_path, for_sleepers(database_url), database, record)
    yield harness
    for process in harness.running:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def test_a_deployment_survives_the_death_of_each_deployer_that_works_on_it(
    harness: TakeoverHarness,
) -> None:
    successor = harness.start("0", KILLED_AT[0])
    for number, failpoint in enumerate([*KILLED_AT[1:], ""], start=1):
        working = successor
        await until(harness.works(working))
        successor = harness.start(str(number), failpoint)
        assert await asyncio.to_thread(working.wait, 240) == -signal.SIGKILL
        await expire_leases(harness.database)
    await until(harness.is_promoted)

    assert await harness.story() == JOURNEY
    assert await harness.count_events("deployment-finished") == 2
    assert await harness.count_events("routes-changed") == 4
    async with harness.database.read() as connection:
        records = await Deployments(connection).of_model("production", MODEL_ID)
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    assert [r.deployment.version for r in records if r.deployment.champion] == [2]
    assert row is not None
    assert [(arm.version, arm.weight) for arm in row.route.arms] == [(2, 1.0)]


async def test_a_deployer_that_wakes_after_the_takeover_changes_nothing(
    harness: TakeoverHarness,
) -> None:
    sleeper = harness.start("sleeper")
    await until(harness.works(sleeper))
    with asleep(sleeper):
        await expire_leases(harness.database)
        other = harness.start("other")
        await until(harness.works(other))
    with asleep(other):  # else it might be done before the sleeper sees that it was overtaken
        await until(harness.logged("sleeper", "deployer.released"))
    await until(harness.is_promoted)

    assert await harness.story() == JOURNEY
    assert await harness.count_events("deployment-finished") == 2

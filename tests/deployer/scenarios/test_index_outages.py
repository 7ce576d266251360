"""While the package index is away deployments wait for it; what it answers is final."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.egress.addresses import parse_allowed
from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import BEING_STAGED, Deployment, DeploymentState
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.deployments.retry_schedule import Outage
from loopwright_deployer.packaging.formats.skops import VARIABLE
from tests.deployer.builders import registered
from tests.deployer.controllers import until, working
from tests.deployer.foreign_packages import PLOUGH, ploughed
from tests.deployer.lifecycle import CAUSE, latest, lead_to
from tests.package_index import Index, package_index
from tests.scorer.isolated_packages import wheel, wheels

HOUR = timedelta(hours=1)
LIMIT = "LOOPWRIGHT_DEPLOYER_INDEX_OUTAGE_SECONDS"
AFTER_STAGING = sorted(set(DeploymentState) - BEING_STAGED)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Index, None, None]:
    """All that a package of a foreign module requires, for whatever uv asks, once."""
    made = wheels(tmp_path / "wheels")
    wheel(made, "plough", "1.0", {"plough.py": PLOUGH})
    wheel(made, "skops", "99.0", {})
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv(VARIABLE, "plough.Plough")
    with package_index(made) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        yield index


async def receive(database: Database, tmp_path: Path, *requirements: str) -> None:
    """Register version 1, of a module that nobody has here."""
    source = ploughed(tmp_path / "source", *requirements)
    digest = await store_package(FilesystemStore(tmp_path / "artifacts"), source)
    await lead_to(database, 1, DeploymentState.RECEIVED, digest=digest)


async def postponed(database: Database) -> Deployment:
    """Version 1 once it waits for the index."""
    for _ in range(4800):
        found = (await latest(database, 1)).deployment
        if found.retry_at is not None:
            return found
        await asyncio.sleep(0.05)
    pytest.fail("version 1 waits for nothing")


@on_sqlite
async def test_a_deployment_waits_for_the_index_and_another_deployer_goes_on(
    database: Database, bus: EventBus, index: Index, tmp_path: Path
) -> None:
    index.status = 503
    await receive(database, tmp_path, "plough==1.0", "borrowed")
    async with working(database, bus, tmp_path):
        waiting = await postponed(database)
    index.status = 200
    async with working(database, bus, tmp_path):
        done = (await until(database, 1, DeploymentState.PROMOTING)).deployment

    assert waiting.state is DeploymentState.PACKAGING
    assert "the package index cannot be reached: uv says:" in str(waiting.waits)
    assert "503 Service Unavailable" in str(waiting.waits)
    assert (done.failing_since, done.retry_at, done.deadline) == (None, None, None)


@on_sqlite
async def test_an_outage_counts_through_a_restart_and_past_the_limit_rejects_with_the_remedy(
    database: Database, bus: EventBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    limit = timedelta(seconds=0.1)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    await receive(database, tmp_path, "plough==1.0")
    async with working(database, bus, tmp_path, outage_limit=limit):
        waiting = await postponed(database)
    async with working(database, bus, tmp_path, outage_limit=limit):
        record = await until(database, 1, *AFTER_STAGING)

    assert waiting.failing_since is not None
    assert record.deployment.state is DeploymentState.REJECTED
    since = f"failing since {clock.to_text(waiting.failing_since)}"
    remedies = (LIMIT, "UV_DEFAULT_INDEX", "register the package as a new version")
    assert all(words in record.deployment.why for words in (since, *remedies, "Connection refused"))


@on_sqlite
@pytest.mark.usefixtures("index")
async def test_what_the_index_does_not_have_is_rejected_at_the_first_try(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await receive(database, tmp_path, "plough==9.0")
    async with working(database, bus, tmp_path):
        record = await until(database, 1, *AFTER_STAGING)

    assert record.deployment.state is DeploymentState.REJECTED
    assert "cannot be built: uv says: error: No solution found" in record.deployment.why
    assert "plough==9.0" in record.deployment.why


@on_sqlite
async def test_what_may_not_be_asked_is_rejected_at_the_first_try_unless_an_operator_allows_it(
    database: Database, bus: EventBus, index: Index, tmp_path: Path
) -> None:
    with package_index(index.wheels) as files:
        index.links["plough"] = f"http://{files.host}/plough-1.0-py3-none-any.whl"
        await receive(database, tmp_path, "plough==1.0", "borrowed")
        async with working(database, bus, tmp_path):
            record = await until(database, 1, *AFTER_STAGING)
        asked = files.asked
        await lead_to(database, 2, DeploymentState.RECEIVED, digest=record.registered.digest)
        allowed = IndexAccess(parse_allowed(files.host, ""))
        async with working(database, bus, tmp_path, index_access=allowed):
            await until(database, 2, DeploymentState.PROMOTING)

    assert (record.deployment.state, asked) == (DeploymentState.REJECTED, 0)
    told = (f"{files.host} may not be asked", "plough", "LOOPWRIGHT_INDEX_ADDRESSES")
    assert all(words in record.deployment.why for words in told)
    assert files.asked > 0


async def test_people_and_programs_see_since_when_and_until_when(
    database: Database, api: httpx.AsyncClient
) -> None:
    record = await lead_to(database, 1, DeploymentState.PACKAGING)
    async with database.unit_of_work() as uow:
        await service.postpone(uow, record, "the index is away", HOUR)

    shown = (await api.get(f"/v1/deployments/{record.deployment.id}")).json()

    assert shown["state"] == "packaging"
    assert shown["why"].endswith(": the index is away")
    times = [clock.from_text(shown[name]) for name in ("failing_since", "retry_at", "deadline")]
    assert times[0] < times[1] < times[2] == times[0] + HOUR
    assert all(clock.to_text(time) in shown["why"] for time in times)


async def test_deployments_that_wait_for_the_index_take_no_place_from_others(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    later = clock.now() + HOUR
    for name in ("a", "b", "c"):
        async with database.unit_of_work() as uow:
            version = registered(1, model_id=name, model=name)
            await service.start_deployment(uow, version, "production", CAUSE)
            waiting = (await Deployments(uow.connection).of_model("production", name))[0]
            outage = Outage(clock.now(), later, later)
            await Deployments(uow.connection).postpone(waiting.deployment, outage, "away")
    await lead_to(database, 1, DeploymentState.RECEIVED)
    async with working(database, bus, tmp_path):
        await until(database, 1, DeploymentState.PACKAGING)

    async with database.read() as connection:
        waiting = (await Deployments(connection).of_model("production", "a"))[0]
    assert waiting.deployment.state is DeploymentState.RECEIVED

"""Faults of the machine around the whole system: a reason while they last, all well after."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from benchmarks import project

from loopwright_common.storage.artifact_store import digest_of
from tests.e2e.house import House, data
from tests.e2e.test_kill import known, promoted

MODEL = "copied"
STOPS_WITHIN = 10
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]


class Site:
    """The running system and the repository it watches."""

    def __init__(self, house: House, repository: Path) -> None:
        self.house = house
        self.repository = repository

    def commit(self, seed: str, **files: str) -> str:
        """A commit with a package of its own; returns the commit's hash."""
        for name, content in {"seed.txt": seed, **files}.items():
            (self.repository / name).write_text(content)
        return project.commit(self.repository, seed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Site, None]:
    place = tmp_path_factory.mktemp("faults")
    repository = project.write(place / "repository", MODEL)
    project.commit(repository, "Copy the package")
    async with House(place) as house:
        new = {"name": MODEL, "url": str(repository)}
        await house.until("the repository is known", lambda: known(house, new))
        await house.until("version 1 serves", lambda: promoted(house, 1))
        yield Site(house, repository)


@contextmanager
def no_space_for(pid: int) -> Generator[None, None, None]:
    """The operating system refuses that any file of a running process grows."""
    process = psutil.Process(pid)
    _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))


async def test_a_full_disk_is_said_and_the_loop_goes_on_with_space(site: Site) -> None:
    house = site.house
    with no_space_for(house.pid):
        site.commit("on a full disk")
        refused = await house.http.post(
            f"{house.urls['trainer']}/v1/repositories/{MODEL}/changed", json={}
        )
        unready = await house.http.get(f"{house.urls['trainer']}/readyz")
        alive = await house.http.get(f"{house.urls['trainer']}/livez")
    assert (refused.status_code, unready.status_code, alive.status_code) == (503, 503, 200)
    assert "database of trainer" in unready.json()["checks"]["database"]

    await house.post("trainer", f"/v1/repositories/{MODEL}/changed", {})
    await house.until("version 2 is judged", lambda: judged(house, 2))
    for service in ("registry", "trainer", "deployer", "monitor"):
        assert (await house.get(service, "/v1/dead-letters"))["items"] == []
        assert (await house.get(service, "/readyz"))["status"] == "ready"


async def test_a_package_damaged_before_its_deployment_is_rejected_with_the_reason(
    site: Site,
) -> None:
    house = site.house
    seed = digest_of(b"to be damaged").removeprefix("sha256:")
    stored = house.directory / "data" / "artifacts" / "sha256" / seed[:2] / seed
    house.before_start = lambda: stored.write_bytes(b"damaged") if stored.exists() else None
    await house.kill_at("deployer.received")
    site.commit("to be damaged")
    await house.post("trainer", f"/v1/repositories/{MODEL}/changed", {})

    await house.until("the version is rejected", lambda: rejected(house, "is damaged"))


async def test_told_to_stop_in_the_middle_of_a_run_it_stops_at_once_and_goes_on_later(
    site: Site,
) -> None:
    house = site.house
    slow = (site.repository / "package.py").read_text() + "import time; time.sleep(30)\n"
    commit = site.commit("slow", **{"package.py": slow})
    await house.until("the stage runs", lambda: stage_runs(house, commit))

    async with asyncio.timeout(STOPS_WITHIN):
        await house.kill_at("")
    await house.until("the run goes on", lambda: stage_runs(house, commit))
    assert "Traceback" not in (house.directory / "log").read_text()


async def judged(house: House, version: int) -> bool:
    told = await house.events("deployment-validated")
    return any(data(event)["version"] == version for event in told)


async def rejected(house: House, why: str) -> bool:
    finished = [data(event) for event in await house.events("deployment-finished")]
    return any(end["outcome"] == "rejected" and why in end["why"] for end in finished)


async def stage_runs(house: House, commit: str) -> bool:
    listed = await house.get("trainer", "/v1/runs") or {"items": []}
    for run in listed["items"]:
        if run["commit"] == commit:
            shown = await house.get("trainer", f"/v1/runs/{run['id']}") or {"stages": []}
            return any(stage["outcome"] == "running" for stage in shown["stages"])
    return False

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
from tests.e2e.harness import SystemHarness, data
from tests.e2e.test_kill import known, promoted

MODEL = "copied"
STOPS_WITHIN = 10
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800), pytest.mark.asyncio(loop_scope="module")]


class WatchedRepository:
    """The running system and the repository it watches."""

    def __init__(self, system: SystemHarness, repository: Path) -> None:
        self.system = system
        self.repository = repository

    def commit(self, seed: str, **files: str) -> str:
        """A commit with a package of its own; returns the commit's hash."""
        for name, content in {"seed.txt": seed, **files}.items():
            (self.repository / name).write_text(content)
        return project.commit(self.repository, seed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[WatchedRepository, None]:
    place = tmp_path_factory.mktemp("faults")
    repository = project.write(place / "repository", MODEL)
    project.commit(repository, "Copy the package")
    async with SystemHarness(place) as system:
        new = {"name": MODEL, "url": str(repository)}
        await system.until("the repository is known", lambda: known(system, new))
        await system.until("version 1 serves", lambda: promoted(system, 1))
        yield WatchedRepository(system, repository)


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


async def test_a_full_disk_is_said_and_the_loop_goes_on_with_space(site: WatchedRepository) -> None:
    system = site.system
    with no_space_for(system.pid):
        site.commit("on a full disk")
        refused = await system.http.post(
            f"{system.urls['trainer']}/v1/repositories/{MODEL}/changed", json={}
        )
        unready = await system.http.get(f"{system.urls['trainer']}/readyz")
        alive = await system.http.get(f"{system.urls['trainer']}/livez")
    assert (refused.status_code, unready.status_code, alive.status_code) == (503, 503, 200)
    assert "database of trainer" in unready.json()["checks"]["database"]

    await system.post("trainer", f"/v1/repositories/{MODEL}/changed", {})
    await system.until("version 2 is judged", lambda: judged(system, 2))
    for service in ("registry", "trainer", "deployer", "monitor"):
        assert (await system.get(service, "/v1/dead-letters"))["items"] == []
        assert (await system.get(service, "/readyz"))["status"] == "ready"


async def test_a_package_damaged_before_its_deployment_is_rejected_with_the_reason(
    site: WatchedRepository,
) -> None:
    system = site.system
    seed = digest_of(b"to be damaged").removeprefix("sha256:")
    stored = system.directory / "data" / "artifacts" / "sha256" / seed[:2] / seed
    system.before_start = lambda: stored.write_bytes(b"damaged") if stored.exists() else None
    await system.kill_at("deployer.received")
    site.commit("to be damaged")
    await system.post("trainer", f"/v1/repositories/{MODEL}/changed", {})

    await system.until("the version is rejected", lambda: rejected(system, "is damaged"))


async def test_told_to_stop_in_the_middle_of_a_run_it_stops_at_once_and_goes_on_later(
    site: WatchedRepository,
) -> None:
    system = site.system
    slow = (site.repository / "package.py").read_text() + "import time; time.sleep(30)\n"
    commit = site.commit("slow", **{"package.py": slow})
    await system.until("the stage runs", lambda: stage_runs(system, commit))

    async with asyncio.timeout(STOPS_WITHIN):
        await system.restart()
    await system.until("the run goes on", lambda: stage_runs(system, commit))
    assert "Traceback" not in (system.directory / "log").read_text()


async def judged(system: SystemHarness, version: int) -> bool:
    told = await system.events("deployment-validated")
    return any(data(event)["version"] == version for event in told)


async def rejected(system: SystemHarness, why: str) -> bool:
    finished = [data(event) for event in await system.events("deployment-finished")]
    return any(end["outcome"] == "rejected" and why in end["why"] for end in finished)


async def stage_runs(system: SystemHarness, commit: str) -> bool:
    listed = await system.get("trainer", "/v1/runs") or {"items": []}
    for run in listed["items"]:
        if run["commit"] == commit:
            shown = await system.get("trainer", f"/v1/runs/{run['id']}") or {"stages": []}
            return any(stage["outcome"] == "running" for stage in shown["stages"])
    return False

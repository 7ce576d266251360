"""Kill the system at failpoints of every service: the loop completes all the same.

The embedded system dies as a whole; on Kafka one service dies and the others go on.

`make test` kills at one place or two of each service, `make test-crash` at every one.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from benchmarks import project

from loopwright.client import PORTS
from loopwright.data_dir import Engine
from tests.e2e.house import House, data, traffic
from tests.stores import BUCKET

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
SAMPLE = [
    "trainer.stage-started",
    "registry.sealed",
    "deployer.canary",
]
SWEEP = [
    "trainer.committed",
    "trainer.published",
    "trainer.marked",
    "trainer.claimed",
    "trainer.begun",
    "trainer.stage-ended",
    "trainer.outputs-kept",
    "trainer.stage-finished",
    "trainer.uploaded",
    "trainer.registered",
    "trainer.finishing",
    "artifacts.written",
    "artifacts.kept",
    "registry.uploaded",
    "registry.manifest-kept",
    "registry.committed",
    "registry.published",
    "registry.archive.handled",
    "registry.lifecycle.handled",
    "deployer.lifecycle.handled",
    "deployer.received",
    "deployer.packaging",
    "deployer.packaged",
    "deployer.staging",
    "deployer.staged",
    "deployer.validated",
    "deployer.routed",
    "deployer.promoting",
    "deployer.promoted",
    "deployer.committed",
    "deployer.published",
    "deployer.measures.handled",
    "scorer.loaded",
    "scorer.sealed",
    "monitor.captured-file",
    "monitor.capture.handled",
    "monitor.detect.handled",
    "monitor.lifecycle.handled",
]
MODEL = "copied"


@pytest.mark.parametrize("engine", Engine)
async def test_the_loop_completes_when_killed_in_each_service(
    tmp_path: Path, engine: Engine
) -> None:
    await complete_when_killed(tmp_path, engine, SAMPLE)


@pytest.mark.crash
@pytest.mark.usefixtures("s3_server")
async def test_two_of_everything_on_a_bucket_lose_nothing_while_each_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_ARTIFACTS_URL", f"s3://{BUCKET}/loop")
    repository = project.write(tmp_path / "repository", MODEL)
    project.commit(repository, "Copy the package")
    twice = dict.fromkeys(PORTS, 2)
    victims = [name for service in PORTS for name in (service, f"{service}-2")]
    async with House(tmp_path, Engine.KAFKA, twice) as house:
        new = {"name": MODEL, "url": str(repository)}
        await house.until("the repository is known", lambda: known(house, new))
        await house.until("version 1 serves", lambda: promoted(house, 1))
        async with traffic(house, MODEL):
            for version, victim in enumerate(victims, start=2):
                (repository / "seed.txt").write_text(victim)
                project.commit(repository, f"Kill {victim}")
                await asyncio.sleep(version / 3)  # each amid something else
                house.kill(victim)
                await house.until(
                    f"version {version} serves, {victim} killed",
                    lambda version=version: promoted(house, version),  # type: ignore[misc]
                )
        assert house.killed == victims
        await check_history(house, versions=len(victims) + 1)


@pytest.mark.crash
@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize(
    "part", ["trainer", "artifacts", "registry", "deployer", "scorer", "monitor"]
)
async def test_the_loop_completes_when_killed_anywhere(
    tmp_path: Path, engine: Engine, part: str
) -> None:
    points = [point for point in SWEEP if point.startswith(part)]
    await complete_when_killed(tmp_path, engine, points)


async def complete_when_killed(place: Path, engine: Engine, failpoints: list[str]) -> None:
    """One commit per failpoint: the system dies there, starts again, and deploys the commit."""
    repository = project.write(place / "repository", MODEL)
    project.commit(repository, "Copy the package")
    async with House(place, engine) as house:
        new = {"name": MODEL, "url": str(repository)}
        await house.until("the repository is known", lambda: known(house, new))
        await house.until("version 1 serves", lambda: promoted(house, 1))
        async with traffic(house, MODEL):
            for version, failpoint in enumerate(failpoints, start=2):
                await house.kill_at(failpoint)
                (repository / "seed.txt").write_text(failpoint)
                project.commit(repository, f"Die at {failpoint}")
                await house.until(
                    f"killed at {failpoint}, version {version} serves",
                    lambda version=version: served_after_kill(house, version, failpoints),  # type: ignore[misc]
                )
        assert house.killed == failpoints
        await check_history(house, versions=len(failpoints) + 1)


async def known(house: House, new: dict[str, str]) -> bool:
    await house.post("trainer", "/v1/repositories", new)
    listed = await house.get("trainer", "/v1/repositories")
    return bool(listed and listed["items"])


async def promoted(house: House, version: int) -> bool:
    return any(
        data(event)["version"] == version for event in await house.events("deployment-promoted")
    )


async def served_after_kill(house: House, version: int, failpoints: list[str]) -> bool:
    killed = len(house.killed) == version - 1 and house.killed == failpoints[: version - 1]
    return killed and await promoted(house, version)


async def check_history(house: House, versions: int) -> None:
    """Nothing lost, nothing twice, one champion."""
    expected = Counter(range(1, versions + 1))
    # Topics arrive in no order between them.
    for topic in ("model-registered", "deployment-promoted", "deployment-finished"):
        await house.until(
            f"every {topic} is there",
            lambda topic=topic: told(house, topic, expected),  # type: ignore[misc]
        )
    await house.until("every run is there", lambda: succeeded(house, versions))
    await house.until("the champion has its alias", lambda: is_champion(house, versions))
    ids = Counter([event["id"] for topic in TOPICS for event in await house.events(topic)])
    assert max(ids.values()) == 1
    deployments = (await house.get("deployer", "/v1/deployments", limit=100))["items"]
    assert [d["version"] for d in deployments if d["champion"]] == [versions]
    await house.until("rows are captured with their labels", lambda: labelled(house))


async def told(house: House, topic: str, versions: Counter[int]) -> bool:
    """Once for each version; an AssertionError when one is told twice."""
    found = Counter(data(event)["version"] for event in await house.events(topic))
    assert found <= versions, f"{topic}: {found}"
    return found == versions


async def succeeded(house: House, runs: int) -> bool:
    found = [data(event)["status"] for event in await house.events("training-finished")]
    assert set(found) <= {"succeeded"}
    return len(found) == runs


async def is_champion(house: House, version: int) -> bool:
    shown = await house.get("registry", f"/v1/models/{MODEL}/versions/{version}")
    return bool(shown) and "champion" in str(shown["aliases"])


async def labelled(house: House) -> bool:
    captured = await house.get("monitor", f"/v1/captured/{MODEL}")
    return bool(captured and captured["labelled"])


TOPICS = [
    "code-changed",
    "training-finished",
    "model-registered",
    "deployment-validated",
    "deployment-promoted",
    "deployment-finished",
    "routes-changed",
]

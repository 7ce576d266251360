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
from tests.e2e.harness import SystemHarness, data, traffic
from tests.stores import BUCKET

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
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
    async with SystemHarness(tmp_path, Engine.KAFKA, twice) as system:
        new = {"name": MODEL, "url": str(repository)}
        await system.until("the repository is known", lambda: known(system, new))
        await system.until("version 1 serves", lambda: promoted(system, 1))
        async with traffic(system, MODEL):
            for version, victim in enumerate(victims, start=2):
                (repository / "seed.txt").write_text(victim)
                project.commit(repository, f"Kill {victim}")
                await asyncio.sleep(version / 3)  # each amid something else
                system.kill(victim)
                await system.until(
                    f"version {version} serves, {victim} killed",
                    lambda version=version: promoted(system, version),  # type: ignore[misc]
                )
        assert system.killed == victims
        await check_history(system, versions=len(victims) + 1)


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
    async with SystemHarness(place, engine) as system:
        new = {"name": MODEL, "url": str(repository)}
        await system.until("the repository is known", lambda: known(system, new))
        await system.until("version 1 serves", lambda: promoted(system, 1))
        async with traffic(system, MODEL):
            for version, failpoint in enumerate(failpoints, start=2):
                await system.kill_at(failpoint)
                (repository / "seed.txt").write_text(failpoint)
                project.commit(repository, f"Die at {failpoint}")
                await announced(system)
                await system.until(
                    f"killed at {failpoint}, version {version} serves",
                    lambda version=version: served_after_kill(system, version, failpoints),  # type: ignore[misc]
                )
        assert system.killed == failpoints
        await check_history(system, versions=len(failpoints) + 1)


async def known(system: SystemHarness, new: dict[str, str]) -> bool:
    await system.post("trainer", "/v1/repositories", new)
    listed = await system.get("trainer", "/v1/repositories")
    return bool(listed and listed["items"])


async def announced(system: SystemHarness) -> None:
    """Tell the trainer of the commit; whether it hears of it or dies, it also looks by itself."""
    await system.post("trainer", f"/v1/repositories/{MODEL}/changed", {})


async def promoted(system: SystemHarness, version: int) -> bool:
    return any(
        data(event)["version"] == version for event in await system.events("deployment-promoted")
    )


async def served_after_kill(system: SystemHarness, version: int, failpoints: list[str]) -> bool:
    killed = len(system.killed) == version - 1 and system.killed == failpoints[: version - 1]
    # A run that still goes on would meet the next kill too, and may meet three.
    return killed and await promoted(system, version) and await succeeded(system, version)


async def check_history(system: SystemHarness, versions: int) -> None:
    """Nothing lost, nothing twice, one champion."""
    expected = Counter(range(1, versions + 1))
    # Topics arrive in no order between them.
    for topic in ("model-registered", "deployment-promoted", "deployment-finished"):
        await system.until(
            f"every {topic} is there",
            lambda topic=topic: told(system, topic, expected),  # type: ignore[misc]
        )
    await system.until("every run is there", lambda: succeeded(system, versions))
    await system.until("the champion has its alias", lambda: is_champion(system, versions))
    ids = Counter([event["id"] for topic in TOPICS for event in await system.events(topic)])
    assert max(ids.values()) == 1
    deployments = (await system.get("deployer", "/v1/deployments", limit=100))["items"]
    assert [d["version"] for d in deployments if d["champion"]] == [versions]
    await system.until("rows are captured with their labels", lambda: labelled(system))


async def told(system: SystemHarness, topic: str, versions: Counter[int]) -> bool:
    """Once for each version; an AssertionError when one is told twice."""
    found = Counter(data(event)["version"] for event in await system.events(topic))
    assert found <= versions, f"{topic}: {found}"
    return found == versions


async def succeeded(system: SystemHarness, runs: int) -> bool:
    ended = [data(event) for event in await system.events("training-finished")]
    assert not [(run["status"], run["why"]) for run in ended if run["status"] != "succeeded"]
    return len(ended) == runs


async def is_champion(system: SystemHarness, version: int) -> bool:
    shown = await system.get("registry", f"/v1/models/{MODEL}/versions/{version}")
    return bool(shown) and "champion" in str(shown["aliases"])


async def labelled(system: SystemHarness) -> bool:
    captured = await system.get("monitor", f"/v1/captured/{MODEL}")
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

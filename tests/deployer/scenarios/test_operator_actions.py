"""What people do to deployments, with a real scorer that follows: traffic goes where they say."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.storage.filesystem import DirectoryStore
from tests.deployer.builders import COLUMNS, graph_of, onnx_package, pipeline
from tests.deployer.harness import DeployerHarness, running_harness

NO_PATIENCE = {"canary": {"steps": [{"weight": 0.5, "min_requests": 10}], "max_time": "0.5s"}}
PATIENCE = {"canary": {"steps": [{"weight": 0.5, "min_requests": 10}]}}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = graph_of(pipeline(), options={"zipmap": False})
    return onnx_package(tmp_path_factory.mktemp("packages") / "onnx", content, COLUMNS)


@pytest.fixture
async def house(
    tmp_path: Path, bus: EventBus, store: DirectoryStore, package: Path
) -> AsyncGenerator[DeployerHarness, None]:
    """Version 1 is champion."""
    async with running_harness(tmp_path, bus, store, package) as house:
        await house.register(1)
        await house.reaches(1, "promoted")
        yield house


async def test_a_version_without_traffic_pauses_and_a_person_decides(
    house: DeployerHarness,
) -> None:
    await house.register(2, deploy=NO_PATIENCE)
    await house.reaches(2, "paused", why="inconclusive: only 0 of 10 requests")
    await house.answers({"1", "2"}.__eq__)

    assert (await house.wish(2, "promote")).is_success
    promoted = await house.reaches(2, "promoted", why="promoted by ada: test")
    assert promoted["previous"] == 1
    await house.answers({"2"}.__eq__)

    assert (await house.undo()).is_success
    await house.answers({"1"}.__eq__)
    assert (await house.deployment(2))["state"] == "rolled-back"


async def test_a_version_with_traffic_is_promoted_by_itself(house: DeployerHarness) -> None:
    await house.register(2, deploy=PATIENCE)
    await house.reaches(2, "canary")
    await house.answers({"2"}.__eq__)

    assert (await house.reaches(2, "promoted"))["champion"]


async def test_a_resumed_canary_gets_its_time_anew(house: DeployerHarness) -> None:
    await house.register(2, deploy=NO_PATIENCE)
    await house.reaches(2, "paused")

    assert (await house.wish(2, "resume")).is_success
    await house.reaches(2, "paused", why="inconclusive: only 0 of 10 requests")
    steps = (await house.api.get(f"/v1/deployments/{(await house.deployment(2))['id']}")).json()
    states = [step["state"] for step in steps["steps"]]
    assert states[-4:] == ["canary", "paused", "canary", "paused"]


async def test_a_newer_version_waits_for_a_paused_canary_and_says_so(
    house: DeployerHarness,
) -> None:
    await house.register(2, deploy=NO_PATIENCE)
    await house.reaches(2, "paused")
    await house.register(3)
    await house.reaches(3, "validated", why="resumes, promotes or aborts the paused version 2")

    assert (await house.wish(2, "abort")).is_success
    await house.reaches(3, "canary")
    await house.answers({"1", "3"}.__eq__)
    assert (await house.deployment(2))["state"] == "aborted"


async def test_a_newer_version_takes_the_place_of_one_paused_before_its_canary(
    house: DeployerHarness,
) -> None:
    await house.register(2, deploy={"approval": {"roles": ["approver"], "within": "0.1s"}})
    await house.reaches(2, "paused", why="nobody approved in time")

    await house.register(3)

    await house.reaches(2, "superseded")
    await house.reaches(3, "canary")

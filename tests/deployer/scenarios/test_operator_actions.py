"""What people do to deployments, with a real scorer that follows: traffic goes where they say."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.storage.filesystem import FilesystemStore
from tests.deployer.builders import COLUMNS, graph_of, onnx_package, pipeline
from tests.deployer.harness import DeployerHarness, running_harness

STEPS = [{"weight": 0.5, "min_requests": 10}]
NO_PATIENCE = {"canary": {"steps": STEPS, "max_time": "0.5s"}}
STAYS = {"canary": {"steps": STEPS, "max_time": "0.5s", "then": "stay"}}
PATIENCE = {"canary": {"steps": STEPS}}
UNANSWERED = (
    "inconclusive: no request has come to the new version at 50% of the traffic",
    "inconclusive: waits for r1 to serve revision ",
)
"""A busy machine may not have served the route when the canary's time ends."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = graph_of(pipeline(), options={"zipmap": False})
    return onnx_package(tmp_path_factory.mktemp("packages") / "onnx", content, COLUMNS)


@pytest.fixture
async def harness(
    tmp_path: Path, bus: EventBus, store: FilesystemStore, package: Path
) -> AsyncGenerator[DeployerHarness, None]:
    """Version 1 is champion."""
    async with running_harness(tmp_path, bus, store, package) as harness:
        await harness.register(1)
        await harness.reaches(1, "promoted")
        yield harness


async def test_a_version_without_traffic_pauses_and_a_person_decides(
    harness: DeployerHarness,
) -> None:
    await harness.register(2, deploy=NO_PATIENCE)
    paused = await harness.reaches(2, "paused", why="inconclusive: ")
    assert paused["why"].startswith(UNANSWERED)
    await harness.answers({"1"}.__eq__)

    assert (await harness.request(2, "skip", gate="canary")).is_success
    promoted = await harness.reaches(2, "promoted", why="canary skipped by ada: test")
    assert promoted["previous"] == 1
    await harness.answers({"2"}.__eq__)

    assert (await harness.undo()).is_success
    await harness.answers({"1"}.__eq__)
    assert (await harness.deployment(2))["state"] == "rolled-back"


async def test_a_version_with_traffic_is_promoted_by_itself(harness: DeployerHarness) -> None:
    await harness.register(2, deploy=PATIENCE)
    await harness.reaches(2, "canary")
    await harness.answers({"2"}.__eq__)

    assert (await harness.reaches(2, "promoted"))["champion"]


async def test_a_resumed_canary_gets_its_time_anew(harness: DeployerHarness) -> None:
    await harness.register(2, deploy=NO_PATIENCE)
    await harness.reaches(2, "paused")

    assert (await harness.request(2, "resume")).is_success
    paused = await harness.reaches(2, "paused", why="inconclusive: ")
    assert paused["why"].startswith(UNANSWERED)
    steps = (await harness.api.get(f"/v1/deployments/{(await harness.deployment(2))['id']}")).json()
    states = [step["state"] for step in steps["steps"]]
    assert states[-5:] == ["canary", "paused", "validated", "canary", "paused"]


async def test_a_newer_version_waits_for_a_paused_canary_and_says_so(
    harness: DeployerHarness,
) -> None:
    await harness.register(2, deploy=STAYS)
    await harness.reaches(2, "paused")
    await harness.register(3)
    await harness.reaches(3, "validated", why="waits for a person to decide about version 2")

    assert (await harness.request(2, "abort")).is_success
    await harness.reaches(3, "canary")
    await harness.answers({"1", "3"}.__eq__)
    assert (await harness.deployment(2))["state"] == "aborted"


async def test_a_newer_version_takes_the_place_of_one_paused_before_its_canary(
    harness: DeployerHarness,
) -> None:
    await harness.register(2, deploy={"approval": {"roles": ["approver"], "within": "0.1s"}})
    await harness.reaches(2, "paused", why="nobody approved in time")

    await harness.register(3)

    await harness.reaches(2, "superseded")
    await harness.reaches(3, "canary")

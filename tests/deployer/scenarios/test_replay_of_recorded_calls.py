"""What callers asked of the champion is asked of the next version before it meets any of them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.events import RoutesChanged, RowsCaptured
from loopwright_common.storage.filesystem import FilesystemStore
from tests.common.bus_harness import until
from tests.deployer.builders import COLUMNS, pipeline, published_events, skops_package
from tests.deployer.harness import DeployerHarness
from tests.deployer.scenarios.conftest import Engine, capturing_harness

CALLS = 300
JOBS = ("nurse", "farmer", "clerk")
REAL_AGE = [{**each, "type": "double"} if each["name"] == "age" else each for each in COLUMNS]
REDACTING = {"record": {"redact": ["job"]}}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The champion, a version that answers the same calls otherwise, and one of whole ages only."""
    directory = tmp_path_factory.mktemp("packages")
    return {
        "champion": skops_package(directory / "champion", pipeline(0), REAL_AGE),
        "another": skops_package(directory / "another", pipeline(1, rows=60), REAL_AGE),
        "whole": skops_package(directory / "whole", pipeline(0), COLUMNS),
    }


@pytest.fixture
async def harness(
    engine: Engine, tmp_path: Path, store: FilesystemStore, packages: dict[str, Path]
) -> AsyncGenerator[DeployerHarness, None]:
    """Nothing is registered yet."""
    async with capturing_harness(engine, tmp_path, store, packages["champion"]) as harness:
        yield harness


async def asked(harness: DeployerHarness, calls: int) -> None:
    """So many calls are answered and captured; each fifth has an age with a fraction."""
    for number in range(calls):
        age = 20 + number % 50 + (0.5 if number % 5 == 0 else 0)
        row = {"age": age, "rate": number / calls - 0.5, "job": JOBS[number % 3]}
        assert await harness.ask(**row) == "1"

    async def is_told() -> bool:
        events = await published_events(harness.bus, RowsCaptured.topic)
        return any(event.data.captured >= calls for event in events)

    await until(is_told)


def replay_of(deployment: dict[str, Any]) -> dict[str, Any]:
    return next(check for check in deployment["checks"] if check["name"] == "replay")


async def report_of(harness: DeployerHarness, deployment: dict[str, Any]) -> dict[str, Any]:
    answer = await harness.api.get(f"/v1/deployments/{deployment['id']}/report")
    content: dict[str, Any] = answer.raise_for_status().json()
    return content


async def test_recorded_calls_are_asked_of_a_version_before_it_meets_traffic(
    harness: DeployerHarness, packages: dict[str, Path]
) -> None:
    await harness.register(1)
    first = await harness.reaches(1, "promoted")
    await asked(harness, CALLS)

    await harness.register(2, packages["whole"])
    refusing = await harness.reaches(2, "rejected")
    await harness.register(3, packages["another"])
    answering = await harness.reaches(3, "canary")

    assert replay_of(first)["sentence"].startswith("no champion")
    assert refusing["why"].startswith("staging: replay: refused "), refusing
    assert replay_of(refusing)["measured"] == pytest.approx(0.2, abs=0.02)
    assert "which is no INT64" in refusing["why"]
    check = replay_of(answering)
    assert (check["verdict"], check["measured"]) == ("passed", 0.0), check
    assert "labels agree in " in check["sentence"]
    found = (await report_of(harness, answering))["details"]["replay"]
    # How many of the calls a busy machine comes to is its own affair.
    assert CALLS / 5 < found["calls"] == found["agreement"]["rows"] <= CALLS
    assert 0 < len(found["answered_otherwise"]) <= 20
    assert found["answered_otherwise"][0]["inputs"].keys() == {"age", "rate", "job"}
    assert 2 not in await versions_with_traffic(harness)


async def versions_with_traffic(harness: DeployerHarness) -> set[int]:
    """All that have been in a route."""
    events = await published_events(harness.bus, RoutesChanged.topic)
    return {arm.version for event in events for arm in (*event.data.arms, *event.data.kept)}


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
async def test_a_version_that_takes_a_redacted_input_is_not_asked_and_goes_on(
    harness: DeployerHarness, packages: dict[str, Path]
) -> None:
    await harness.register(1, deploy=REDACTING)
    await harness.reaches(1, "promoted")
    await asked(harness, 60)
    await harness.register(2, packages["another"], deploy=REDACTING)
    check = replay_of(await harness.reaches(2, "canary"))

    assert check["verdict"] == "skipped"
    assert "takes 'job', which is redacted and so not recorded" in check["sentence"]

"""What it takes to add a staging check: a class, and an entry of the list."""

import asyncio
from pathlib import Path

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.events import Check
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.staging.checks.base import StagingContext, verdict_of
from loopwright_deployer.staging.checks.registry import CHECKS
from tests.deployer.builders import COLUMNS, graph_of, onnx_package, pipeline
from tests.deployer.controllers import until, working
from tests.deployer.lifecycle import lead_to


class FairnessCheck:
    name = "fairness"

    async def run(self, staged: StagingContext) -> Check:
        inputs = len(staged.candidate.client.metadata.inputs)
        return verdict_of(self.name, "failed", f"{inputs} inputs are unfair")


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names)


async def test_an_added_check_has_its_say_in_the_verdict_of_a_staged_deployment(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    package = onnx_package(tmp_path / "package", graph_of(pipeline()), COLUMNS)
    digest = await store_package(FilesystemStore(tmp_path / "artifacts"), package)
    await lead_to(database, 1, DeploymentState.RECEIVED, digest=digest, format="onnx")
    async with working(database, bus, tmp_path, checks=(*CHECKS, FairnessCheck())):
        record = await until(database, 1, DeploymentState.REJECTED, DeploymentState.PROMOTING)

    assert record.deployment.why == "staging: fairness: 3 inputs are unfair"
    assert [check.name for check in record.checks] == [
        "package", "schema", "example", "hostile-inputs", "holdout", "latency", "replay", "fairness"
    ]  # fmt: skip


class HangingCheck:
    name = "hanging"

    async def run(self, staged: StagingContext) -> Check:  # noqa: ARG002
        await asyncio.sleep(600)
        raise AssertionError


async def test_a_check_that_does_not_end_is_unclear_and_is_not_begun_for_ever(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    package = onnx_package(tmp_path / "package", graph_of(pipeline()), COLUMNS)
    digest = await store_package(FilesystemStore(tmp_path / "artifacts"), package)
    await lead_to(database, 1, DeploymentState.RECEIVED, digest=digest, format="onnx")
    checks = (HangingCheck(), FairnessCheck())
    async with working(database, bus, tmp_path, checks=checks, time_limit=30):
        record = await until(database, 1, DeploymentState.PAUSED, DeploymentState.REJECTED)

    assert record.deployment.state is DeploymentState.PAUSED
    assert [(check.name, check.verdict) for check in record.checks] == [
        ("package", "passed"), ("hanging", "inconclusive"),
    ]  # fmt: skip
    assert "not done when the 30 s of all checks were over, and fairness not run" in (
        record.checks[1].sentence
    )

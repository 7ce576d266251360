"""Which gate is next, and which open question of staging a canary answers."""

import pytest

from loopwright_common.database.database import Database
from loopwright_common.deploy_policy import ApprovalPolicy, DeployPolicy
from loopwright_common.events import Check
from loopwright_common.sandbox import Level
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import Gate, next_gate
from tests.deployer.builders import deployment
from tests.deployer.lifecycle import latest, lead_to

APPROVED = DeployPolicy(approval=ApprovalPolicy())


@pytest.mark.parametrize(
    ("staged_against", "passed", "policy", "champion", "gate"),
    [
        (None, {}, DeployPolicy(), None, None),
        (None, {}, APPROVED, None, Gate.APPROVAL),
        (None, {}, DeployPolicy(), 1, Gate.STAGING),
        (1, {}, DeployPolicy(), 1, Gate.CANARY),
        (1, {}, APPROVED, 1, Gate.APPROVAL),
        (1, {Gate.APPROVAL: "yes"}, APPROVED, 1, Gate.CANARY),
        (1, {Gate.CANARY: "skipped"}, APPROVED, 1, Gate.APPROVAL),
        (1, {Gate.APPROVAL: "yes", Gate.CANARY: "enough"}, APPROVED, 1, None),
        (1, {Gate.APPROVAL: "yes", Gate.CANARY: "enough"}, APPROVED, 2, Gate.STAGING),
    ],
)
def test_the_first_gate_that_is_not_passed(
    staged_against: int | None,
    passed: dict[str, str],
    policy: DeployPolicy,
    champion: int | None,
    gate: Gate | None,
) -> None:
    staged = deployment(staged=True, staged_against=staged_against, gates=passed)

    assert next_gate(staged, policy, champion) is gate


@pytest.mark.parametrize(
    ("name", "champion", "state"),
    [
        ("latency", 1, DeploymentState.VALIDATED),
        ("latency", None, DeploymentState.PAUSED),
        ("replay", 1, DeploymentState.VALIDATED),
        ("holdout", 1, DeploymentState.PAUSED),
    ],
)
async def test_a_canary_answers_what_it_asks_again(
    database: Database, name: str, champion: int | None, state: DeploymentState
) -> None:
    version = 1
    if champion is not None:
        version = 2
        await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, version, DeploymentState.STAGING)
    checks = tuple(
        Check.model_validate({"name": each, "verdict": verdict, "sentence": "noise"})
        for each, verdict in (("schema", "passed"), ("example", "skipped"), (name, "inconclusive"))
    )
    async with database.unit_of_work() as uow:
        await service.finish_staging(uow, record, checks, "r", Level.NAMESPACE, champion)

    staged = (await latest(database, version)).deployment
    assert staged.state is state
    if state is DeploymentState.VALIDATED:
        assert staged.why == f"1 check passed; skipped: example; left to the canary: {name}"
    else:
        assert staged.why == f"inconclusive: {name}: noise"

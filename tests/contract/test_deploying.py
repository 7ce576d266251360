"""The page on deploying names every state, every verb and every gate that there is."""

from pathlib import Path

from benchmarks.journeys.repositories import FAST_POLICY

from loopwright_deployer.deployments.domain import IN_FLIGHT, DeploymentState
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.operator_actions.actions import ACTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()


def test_every_state_of_the_journey_has_its_row() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `")}
    wanted = {f"`{state}`" for state in [*IN_FLIGHT, DeploymentState.PROMOTED]}

    assert wanted <= rows


def test_every_verb_and_gate_is_said() -> None:
    assert [verb for verb in [*ACTIONS, "skip", "undo"] if f"`{verb}" not in PAGE] == []
    assert [gate for gate in Gate if gate not in PAGE] == []


def test_the_fast_policy_is_the_one_that_is_measured() -> None:
    assert FAST_POLICY in PAGE

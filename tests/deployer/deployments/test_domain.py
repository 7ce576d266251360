import pytest

from loopwright_common import clock
from loopwright_common.errors import ConflictError
from loopwright_deployer.deployments.domain import (
    IN_FLIGHT,
    TRANSITIONS,
    DeploymentState,
    transition,
)
from tests.deployer.builders import deployment


def test_every_state_can_end() -> None:
    for state in IN_FLIGHT:
        reachable, fresh = {state}, {state}
        while fresh:
            fresh = {to for one in fresh for to in TRANSITIONS[one]} - reachable
            reachable |= fresh
        assert reachable - IN_FLIGHT, state


def test_an_impossible_step_names_the_possible_ones() -> None:
    ended = deployment(state=DeploymentState.REJECTED)

    with pytest.raises(ConflictError, match=r"is rejected and cannot become canary.*it has ended"):
        transition(ended, DeploymentState.CANARY, "why", clock.now())


def test_a_pause_remembers_where_it_stood_and_leaving_forgets_it() -> None:
    paused = transition(
        deployment(state=DeploymentState.CANARY), DeploymentState.PAUSED, "no traffic", clock.now()
    )
    resumed = transition(paused, DeploymentState.CANARY, "resumed", clock.now())

    assert paused.paused_from is DeploymentState.CANARY
    assert paused.carries_traffic
    assert resumed.paused_from is None


def test_only_what_has_no_traffic_is_superseded() -> None:
    canary = deployment(state=DeploymentState.CANARY)
    paused_canary = deployment(state=DeploymentState.PAUSED, paused_from=DeploymentState.CANARY)
    paused_before = deployment(state=DeploymentState.PAUSED, paused_from=DeploymentState.STAGING)

    assert [d.supersedable for d in (canary, paused_canary, paused_before)] == [False, False, True]

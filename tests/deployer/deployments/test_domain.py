import pytest

from loopwright_common import clock
from loopwright_common.errors import ConflictError
from loopwright_deployer.deployments.domain import IN_FLIGHT, TRANSITIONS, State, move
from tests.deployer.builders import deployment


def test_every_state_can_end() -> None:
    for state in IN_FLIGHT:
        reachable, fresh = {state}, {state}
        while fresh:
            fresh = {to for one in fresh for to in TRANSITIONS[one]} - reachable
            reachable |= fresh
        assert reachable - IN_FLIGHT, state


def test_an_impossible_step_names_the_possible_ones() -> None:
    ended = deployment(state=State.REJECTED)

    with pytest.raises(ConflictError, match=r"is rejected and cannot become canary.*it has ended"):
        move(ended, State.CANARY, "why", clock.now())


def test_a_pause_remembers_where_it_stood_and_leaving_forgets_it() -> None:
    paused = move(deployment(state=State.CANARY), State.PAUSED, "no traffic", clock.now())
    resumed = move(paused, State.CANARY, "resumed", clock.now())

    assert paused.paused_from is State.CANARY
    assert paused.carries_traffic
    assert resumed.paused_from is None


def test_only_what_has_no_traffic_is_superseded() -> None:
    canary = deployment(state=State.CANARY)
    paused_canary = deployment(state=State.PAUSED, paused_from=State.CANARY)
    paused_before = deployment(state=State.PAUSED, paused_from=State.STAGING)

    assert [d.supersedable for d in (canary, paused_canary, paused_before)] == [False, False, True]

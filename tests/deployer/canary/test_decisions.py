"""Whole journeys of simulated canaries; `python -m benchmarks.judge` has them in full."""

from dataclasses import replace
from datetime import timedelta
from math import ceil, exp

import pytest
from benchmarks.judge import HARMFUL, IDENTICAL, LONG, Journey, Scenario, detection
from hypothesis import given, settings

from loopwright_common import clock
from loopwright_common.deploy_policy import (
    CanaryPolicy,
    CanaryStep,
    DeployPolicy,
    LatencyPolicy,
)
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts
from loopwright_deployer.canary.decisions import (
    CanaryDecision,
    CanaryEvidence,
    decide_canary,
    only_waits,
)
from loopwright_deployer.canary.looks import CanaryLook
from loopwright_deployer.canary.verdicts import HARMLESS_ALPHA, canary_tests
from tests.deployer.canary.test_looks import journeys

JOURNEYS = 20
EDGES = (0.01, 0.1)


def ends(scenario: Scenario, policy: DeployPolicy) -> list[str]:
    journeys = (Journey(scenario, policy, seed) for seed in range(JOURNEYS))
    return [[*journey.decisions()][-1].action for journey in journeys]


@pytest.mark.parametrize("scenario", IDENTICAL, ids=lambda each: each.name)
def test_identical_versions_are_not_rolled_back_whatever_happens_to_both(
    scenario: Scenario,
) -> None:
    assert ends(scenario, LONG).count("roll-back") <= ceil(0.015 * JOURNEYS)


@pytest.mark.parametrize(
    "scenario", [each for each in HARMFUL if each.more >= 0.1], ids=lambda each: each.name
)
def test_a_version_worse_by_ten_points_is_not_promoted(scenario: Scenario) -> None:
    assert ends(scenario, DeployPolicy()).count("promote") <= ceil(0.05 * JOURNEYS)


def test_a_version_as_good_as_the_champion_is_promoted_by_the_default_policy() -> None:
    assert ends(Scenario("as good"), DeployPolicy()).count("promote") >= 0.95 * JOURNEYS


def test_three_times_the_errors_at_ten_percent_are_found_within_3000_calls() -> None:
    found, calls = detection(journeys=61)
    assert found == 1
    assert calls <= 3_000


def decided(
    step: StepCounts, policy: DeployPolicy, at: int = 0, late: bool = False
) -> CanaryDecision:
    now = clock.now()
    deadline = now - timedelta(seconds=1) if late else now + timedelta(minutes=1)
    served = Acknowledgement(True, "served")
    evidence = CanaryEvidence(steps=[step], acknowledgement=served, deadline=deadline, now=now)
    return decide_canary(policy, at, evidence)


def calls(number: int) -> CallCounter:
    return CallCounter(number, 0, EDGES, (number, 0, 0))


@pytest.mark.parametrize("weights", [(0.1, 0.5), (0.01, 0.1, 0.5), (0.3, 0.31), (0.2,)])
def test_each_step_takes_as_much_of_the_evidence_as_it_weighs(weights: tuple[float, ...]) -> None:
    steps = [CanaryStep(weight=weight) for weight in weights]
    policy = DeployPolicy(canary=CanaryPolicy(steps=steps))
    for at in range(len(weights)):
        needed = HARMLESS_ALPHA ** -(sum(weights[: at + 1]) / sum(weights))
        looks = [StepCounts(calls(own), calls(9 * own), calls(500)) for own in range(1, 100)]
        known = [canary_tests([look], policy.canary, LatencyPolicy())[0] for look in looks]
        first = next(i for i, test in enumerate(known) if test and exp(test.harmless) >= needed)
        before, then = (decided(look, policy, at).action for look in looks[first - 1 : first + 1])
        assert (before, then) == ("wait", "promote" if at == len(weights) - 1 else "advance")


def test_what_is_asked_for_beside_the_evidence_is_waited_for() -> None:
    policy = DeployPolicy(canary=CanaryPolicy(steps=[CanaryStep(weight=0.5, min_requests=1_000)]))

    waits = decided(StepCounts(calls(400), calls(400), calls(500)), policy)

    assert (waits.action, waits.why) == (
        "wait",
        "the new version has had only 400 of 1000 requests at 50%",
    )


def test_a_canary_whose_harm_is_not_known_at_the_deadline_pauses_and_says_what_lacks() -> None:
    step = StepCounts(calls(20), calls(180), calls(500))

    paused = decided(step, DeployPolicy(), at=1, late=True)

    assert paused.action == "pause"
    assert "inconclusive: canary-errors is not known to be harmless after 20 requests at 50%" in (
        paused.why
    )
    assert paused.why.endswith("; only calls tell, so resume it while callers ask the model")
    uncalled = decided(StepCounts(before=calls(500)), DeployPolicy(), late=True)
    assert (uncalled.action, uncalled.why) == (
        "pause",
        "inconclusive: no request has come to the new version at 10% of the traffic; only calls "
        "tell, so resume it while callers ask the model",
    )


def test_worse_is_frozen_where_the_policy_says_so_and_harm_never() -> None:
    worse = StepCounts(CallCounter(100, 60, EDGES, (100, 0, 0)), calls(900), calls(500))
    harm = replace(worse, canary=replace(worse.canary, tripped="it did not return"))
    freezes = DeployPolicy(canary=CanaryPolicy(worse="freeze"))

    assert decided(worse, DeployPolicy()).action == "roll-back"
    assert decided(worse, freezes).action == "freeze"
    assert decided(worse, freezes).why == decided(worse, DeployPolicy()).why
    assert decided(harm, freezes).action == "roll-back"


def test_a_step_begins_anew_once_the_champion_says_what_is_slow() -> None:
    assert decided(StepCounts(calls(5), calls(50)), DeployPolicy()).action == "begin-anew"


@given(journeys())
@settings(deadline=None)
def test_whether_a_canary_only_waits_is_known_without_its_figures(
    journey: tuple[DeployPolicy, list[CanaryLook]],
) -> None:
    policy, looks = journey
    for look in looks:
        waits = look.decision.action == "wait"
        assert only_waits(policy, look.step, look.evidence) == waits

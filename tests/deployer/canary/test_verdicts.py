"""A canary's figures become worse, harmless or not known yet, and say so."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from loopwright_common.deploy_policy import CanaryPolicy, LatencyPolicy
from loopwright_deployer.canary.call_counts import BoundCalls, CallCounter, StepCounts
from loopwright_deployer.canary.verdicts import (
    begins_to_be_timed,
    calls_to_pass,
    judge_errors,
    judge_latency,
    judge_refusals,
    slow_limit,
)

EDGES = (0.001, 0.002, 0.004, 0.008, 0.016)
POLICY = CanaryPolicy()
TWICE = LatencyPolicy(slack=timedelta(0))


def calls(fast: int, slow: int = 0, errors: int = 0) -> CallCounter:
    return CallCounter(fast + slow, errors, EDGES, (fast, 0, 0, 0, slow, 0))


def test_more_errors_than_the_champion_and_than_allowed_fail() -> None:
    step = StepCounts(calls(100, errors=20), calls(900, errors=18), calls(500))

    check = judge_errors([step], POLICY).check

    assert check.verdict == "failed"
    assert (check.measured, check.unit) == (0.2, "of calls")
    assert check.limit == pytest.approx(0.12)
    assert "20 of 100 calls (20.0%) failed on the new version" in check.sentence
    assert "18 of 900 calls (2.0%) on the champion, 12.0% may" in check.sentence


def test_a_check_carries_what_it_follows_from_as_figures() -> None:
    step = StepCounts(calls(100, errors=20), calls(900, errors=18), calls(500))

    compared = judge_errors([step], POLICY).check.comparison

    assert compared is not None
    assert compared.canary.model_dump() == {"calls": 100, "hits": 20, "share": 0.2}
    assert compared.champion.model_dump() == {"calls": 900, "hits": 18, "share": 0.02}
    assert compared.low is not None
    assert compared.high is not None
    assert 0 < compared.low < 0.18 < compared.high < 0.5
    assert compared.worse >= compared.worse_limit == 100
    assert compared.harmless < compared.harmless_limit == 20


def test_worse_by_less_than_is_allowed_is_no_reason_to_roll_back() -> None:
    step = StepCounts(calls(100_000, errors=2_600), calls(900_000, errors=18_000), calls(500))

    assert judge_errors([step], POLICY).check.verdict == "passed"


@pytest.mark.parametrize(
    ("canary", "verdict"), [(0, "inconclusive"), (20, "inconclusive"), (60, "passed")]
)
def test_passing_takes_calls(canary: int, verdict: str) -> None:
    step = StepCounts(calls(canary), calls(9 * canary), calls(500))

    assert judge_errors([step], POLICY).check.verdict == verdict
    assert judge_latency([step], POLICY, TWICE).check.verdict == verdict


def test_a_version_that_refuses_what_the_champion_answers_fails() -> None:
    refusing = replace(calls(6), refused=4)
    step = StepCounts(refusing, calls(90), calls(500))

    check = judge_refusals([step], POLICY).check

    assert check.verdict == "failed"
    assert check.sentence.startswith(
        "of 10 requests the new version refused 4 (40.0%) that the champion answers, "
        "of 90 requests the champion refused 0 (0.0%) that the new version answers, 10.0% may; "
    )


def test_one_call_is_told_as_one() -> None:
    check = judge_errors([StepCounts(calls(1), calls(2, errors=1), calls(500))], POLICY).check

    assert check.sentence.startswith(
        "0 of 1 call (0.0%) failed on the new version, 1 of 2 calls (50.0%) on the champion"
    )


def test_a_smaller_margin_takes_more_calls() -> None:
    step = StepCounts(calls(60), calls(540), calls(500))

    assert judge_errors([step], CanaryPolicy(margin=0.02)).check.verdict == "inconclusive"


def test_a_slow_canary_fails_and_a_slow_hour_does_not() -> None:
    before = calls(1000, 10)
    slow_canary = StepCounts(calls(50, 50), calls(900, 5), before)
    slow_hour = StepCounts(calls(200, 200), calls(1800, 1800), before)
    all_slow = StepCounts(calls(0, 400), calls(0, 3600), before)

    failed = judge_latency([slow_canary], POLICY, TWICE).check
    assert failed.verdict == "failed"
    assert "took longer than 2 ms (2 times the champion's p95)" in failed.sentence
    for step in (slow_hour, all_slow):
        assert judge_latency([step], POLICY, TWICE).check.verdict != "failed"


def test_what_is_slow_follows_from_before_the_step_alone() -> None:
    before = calls(1000, 10)
    during = [StepCounts(calls(50, 50), calls(*counts), before) for counts in ((900, 5), (5, 900))]

    sentences = [judge_latency([step], POLICY, TWICE).check.sentence for step in during]

    assert all("longer than 2 ms" in sentence for sentence in sentences)


def test_without_calls_before_nothing_is_slow_until_the_step_begins_anew() -> None:
    step = StepCounts(calls(10), calls(90), calls(5))

    unknown = judge_latency([step], POLICY, TWICE)

    assert (unknown.check.verdict, unknown.harmless) == ("inconclusive", 0.0)
    assert begins_to_be_timed(step, TWICE)
    assert not begins_to_be_timed(StepCounts(calls(10), calls(5), calls(5)), TWICE)
    assert not begins_to_be_timed(StepCounts(calls(10), calls(90), calls(50)), TWICE)


def test_the_limit_is_an_edge_at_or_above_the_multiple_of_p95() -> None:
    wide = LatencyPolicy(at_most="100x champion")

    assert slow_limit(calls(100), TWICE) == (0.002, 0.001)
    assert slow_limit(calls(100), wide) == (0.016, 0.001)
    assert slow_limit(calls(5), TWICE) is None
    assert slow_limit(CallCounter(100, 0, EDGES, (0, 0, 0, 0, 0, 100)), TWICE) is None


@pytest.mark.parametrize(("at_most", "edge"), [("1.5x champion", 0.002), ("50ms", 0.002)])
def test_a_limit_of_staging_that_is_a_time_leaves_the_canary_twice_the_p95(
    at_most: str, edge: float
) -> None:
    latency = LatencyPolicy(at_most=at_most, slack=timedelta(0))

    assert slow_limit(calls(100), latency) == (edge, 0.001)


def test_a_fast_champion_leaves_the_slack_that_nobody_notices() -> None:
    before, busy = calls(1000, 10), CallCounter(100, 0, EDGES, (60, 20, 10, 8, 2, 0))
    step = StepCounts(busy, calls(900, 5), before)

    assert slow_limit(before, LatencyPolicy()) == (0.016, 0.001)
    assert judge_latency([step], POLICY, TWICE).check.verdict == "failed"
    patient = judge_latency([step], POLICY, LatencyPolicy()).check
    assert patient.verdict == "passed"
    assert "took longer than 16 ms (16 times the champion's p95)" in patient.sentence


@pytest.mark.parametrize("margin", [0.3, 0.1, 0.02, 0.001])
def test_the_least_calls_that_pass_are_the_least(margin: float) -> None:
    policy = CanaryPolicy(margin=margin)
    least = calls_to_pass(policy, step=1)
    verdicts = [
        judge_errors([StepCounts(calls(n), calls(9 * n), calls(10_000))], policy).check.verdict
        for n in (least - 1, least)
    ]
    assert verdicts == ["inconclusive", "passed"]


def sticky(generator: np.random.Generator, slower: float, *, told: bool) -> str:
    """How the latency of a canary is judged, looked at ten times in each of two steps.

    200 callers call as often as words are used (Zipf), one in twenty is slow in half of its calls,
    and a key binds each of them to an arm. What the canary adds is `slower`.
    """
    often = generator.permutation(1 / np.arange(1, 201) ** 1.1)
    often /= often.sum()
    slow = np.where(generator.permutation(200) < 10, 0.5, 0.005)
    position, known = generator.random(200), calls(2000, 20)
    steps: list[StepCounts] = []
    for weight in (0.1, 0.5):
        own, seen = position < weight, np.zeros((200, 2), int)
        steps.append(StepCounts(before=known))
        for _ in range(10):
            asked = generator.multinomial(150, often)
            late = generator.binomial(asked, np.where(own, slow + slower, slow))
            seen += np.stack([asked - late, late], axis=1)
            canary, champion = (by_caller(seen[arm], told=told) for arm in (own, ~own))
            steps[-1] = StepCounts(canary, champion, known)
            if judge_latency(steps, POLICY, TWICE).check.verdict == "failed":
                return "failed"
    return "not failed"


def by_caller(seen: np.ndarray, *, told: bool) -> CallCounter:
    """The counter of callers' fast and slow calls, [n, 2]."""
    called = seen[seen.any(axis=1)]
    shares = (called / called.sum(axis=1, keepdims=True)).sum(axis=0)
    fast, slow = called.sum(axis=0)
    bound = BoundCalls((fast, 0, 0, 0, slow, 0), (shares[0], 0, 0, 0, shares[1], 0), 1)
    return replace(calls(fast, slow), bound=bound if told else BoundCalls())


@pytest.mark.parametrize(("told", "least", "most"), [(True, 0, 1), (False, 8, 100)])
def test_slow_callers_who_are_bound_to_the_canary_do_not_roll_it_back(
    told: bool, least: int, most: int
) -> None:
    """Counted by their calls they do."""
    ends = [sticky(np.random.default_rng(seed), 0.0, told=told) for seed in range(100)]

    assert least <= ends.count("failed") <= most


def test_a_canary_that_is_slow_for_bound_callers_is_rolled_back() -> None:
    ends = [sticky(np.random.default_rng(seed), 0.4, told=True) for seed in range(20)]

    assert ends.count("failed") == 20


def test_callers_of_several_replicas_count_as_if_each_knew_all_of_them() -> None:
    own = BoundCalls((300, 0, 0, 0, 300, 0), (60.0, 0, 0, 0, 60.0, 0), replicas=3)
    others = BoundCalls((600, 0, 0, 0, 0, 0), (120.0, 0, 0, 0, 0.0, 0), replicas=3)
    step = StepCounts(
        replace(calls(300, 300), bound=own), replace(calls(600), bound=others), calls(500)
    )
    check = judge_latency([step], POLICY, TWICE).check

    assert "that its key binds to a version are one call: 40 and 40" in check.sentence
    assert check.verdict == "failed"

"""A canary's figures become worse, harmless or not known yet, and say so."""

from dataclasses import replace
from datetime import timedelta

import pytest

from loopwright_common.deploy_policy import CanaryPolicy, LatencyPolicy
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts
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
    assert "4 of 10 calls (40.0%) were refused though the other version answers them" in (
        check.sentence
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
    least = calls_to_pass(policy)
    verdicts = [
        judge_errors([StepCounts(calls(n), calls(9 * n), calls(10_000))], policy).check.verdict
        for n in (least - 1, least)
    ]
    assert verdicts == ["inconclusive", "passed"]

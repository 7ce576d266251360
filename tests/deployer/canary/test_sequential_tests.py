"""The judge's promise, on simulated streams with fixed seeds."""

import numpy as np
import pytest

from loopwright_deployer.canary.call_counts import CallCounter, StepCounts
from loopwright_deployer.canary.sequential_tests import (
    ERROR_ALPHA,
    compare_errors,
    compare_latency,
    latency_limit,
)

EDGES = (0.001, 0.002, 0.004, 0.008, 0.016)


def looks(seed: int, canary_rate: float, share: float = 0.1, requests: int = 20_000) -> bool:
    """Whether any of 50 looks at one canary would have rolled it back."""
    draw = np.random.default_rng(seed)
    canary = draw.random(requests) < share
    failed = draw.random(requests) < np.where(canary, canary_rate, 0.02)
    for end in range(requests // 50, requests + 1, requests // 50):
        own, bad = canary[:end], failed[:end]
        step = StepCounts(
            CallCounter(int(own.sum()), int((own & bad).sum())),
            CallCounter(int((~own).sum()), int((~own & bad).sum())),
        )
        if compare_errors([step], 1.5).verdict == "failed":
            return True
    return False


def test_a_canary_as_good_as_the_champion_is_hardly_ever_rolled_back() -> None:
    false_alarms = sum(looks(seed, canary_rate=0.02) for seed in range(300))

    assert false_alarms <= ERROR_ALPHA * 300


def test_the_allowed_ratio_itself_is_hardly_ever_rolled_back() -> None:
    false_alarms = sum(looks(seed, canary_rate=0.03) for seed in range(300))

    assert false_alarms <= ERROR_ALPHA * 300


@pytest.mark.parametrize(("rate", "least"), [(0.06, 0.9), (0.12, 1.0)])
def test_three_and_six_times_the_errors_are_caught(rate: float, least: float) -> None:
    caught = sum(looks(seed, canary_rate=rate) for seed in range(50))

    assert caught >= least * 50


def test_evidence_of_the_steps_multiplies() -> None:
    step = StepCounts(CallCounter(100, 10), CallCounter(900, 10))

    once, twice = compare_errors([step], 1.5), compare_errors([step, step], 1.5)

    assert once.measured is not None
    assert twice.measured == pytest.approx(once.measured**2)


def test_no_calls_are_inconclusive_never_passed() -> None:
    assert compare_errors([StepCounts()], 1.5).verdict == "inconclusive"
    assert compare_latency([StepCounts()], CallCounter(), 2.0).verdict == "inconclusive"


def latencies(fast: int, slow: int) -> CallCounter:
    return CallCounter(fast + slow, 0, EDGES, (fast, 0, 0, 0, slow, 0))


def test_a_slow_canary_fails_and_a_slow_hour_does_not() -> None:
    warm_up = latencies(1000, 10)
    slow_canary = StepCounts(latencies(50, 50), latencies(900, 5))
    slow_hour = StepCounts(latencies(50, 50), latencies(450, 450))

    assert compare_latency([slow_canary], warm_up, 2.0).verdict == "failed"
    assert compare_latency([slow_hour], warm_up, 2.0).verdict == "passed"


def test_the_limit_is_an_edge_at_or_above_the_ratio_of_p95() -> None:
    assert latency_limit(latencies(100, 0), 1.5) == 0.002
    assert latency_limit(latencies(5, 0), 1.5) is None

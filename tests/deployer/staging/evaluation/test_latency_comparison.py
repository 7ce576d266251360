"""What is known of two latencies: by hand, by properties, and how often it is wrong (simulated)."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from loopwright_deployer.staging.evaluation.latency_comparison import (
    LEAST_FOR_P95,
    LOOKS,
    Floats,
    LatencyComparison,
    compare_latencies,
    median_and_p95,
)

RUNS = 100
WORST = {"passed": 0, "inconclusive": 1, "failed": 2}
Noise = Callable[[np.random.Generator], tuple[Floats, Floats]]
latencies = st.integers(1, 120).flatmap(
    lambda calls: arrays(np.float64, (2, calls), elements=st.floats(1e-4, 30.0))
)


def draw(seed: int, calls: int = 200) -> Floats:
    return np.random.default_rng(seed).lognormal(-6, 0.2, calls)


def test_as_fast_passes_and_clearly_slower_fails() -> None:
    own, other = draw(1), draw(2)

    assert compare_latencies(own, other, 2.0).verdict == "passed"
    assert compare_latencies(own * 3, other, 2.0).verdict == "failed"
    assert compare_latencies(own * 2, other, 2.0).verdict == "inconclusive"


def test_one_in_ten_calls_that_is_slow_fails_by_the_p95_alone() -> None:
    own, other = draw(1, 800), draw(2, 800)
    own[::10] *= 10

    found = compare_latencies(own, other, 2.0)
    assert found.verdict == "failed"
    assert (found.median.upper < 2, found.p95.lower > 2) == (True, True)


def test_alone_it_is_the_p95_that_has_to_be_below_a_time() -> None:
    own = np.linspace(0.001, 0.1, 400)

    assert median_and_p95(own) == pytest.approx((0.0504, 0.0950), abs=1e-3)
    verdicts = [compare_latencies(own, None, limit).verdict for limit in (0.06, 0.095, 0.2)]
    assert verdicts == ["failed", "inconclusive", "passed"]


def test_too_few_calls_for_a_p95_may_fail_by_the_median_and_never_pass() -> None:
    own, other = draw(1, LEAST_FOR_P95 - 1), draw(2, LEAST_FOR_P95 - 1)

    passing = compare_latencies(own, other, 1000.0)
    assert (passing.verdict, passing.p95.bounded) == ("inconclusive", False)
    assert compare_latencies(own * 5, other, 2.0).verdict == "failed"
    assert compare_latencies(own[:5] * 5, other[:5], 2.0).verdict == "inconclusive"


@given(latencies, st.floats(0.1, 10.0))
def test_bounds_are_ordered_and_hold_the_verdict(calls: Floats, limit: float) -> None:
    found = compare_latencies(calls[0], calls[1], limit)

    for figure in (found.median, found.p95):
        assert 0 <= figure.lower <= figure.upper
    clearly_above = max(found.median.lower, found.p95.lower) > limit * 1.000001
    clearly_below = max(found.median.upper, found.p95.upper) < limit * 0.999999
    if clearly_above or clearly_below:
        assert found.verdict == ("failed" if clearly_above else "passed")


def test_what_is_within_the_slack_passes_whatever_the_multiple() -> None:
    own, other = draw(1), draw(2)
    more = [compare_latencies(own + by, other, 2.0, slack=0.01) for by in (0.01, 0.02)]

    assert [found.verdict for found in more] == ["passed", "failed"]
    assert more[0].median.lower > 3
    assert more[0].median.limit == pytest.approx(2 + 0.01 / np.median(other), rel=0.01)


@given(latencies, st.floats(0, 0.1))
def test_slack_allows_more_and_never_less(calls: Floats, slack: float) -> None:
    own, other = calls
    strict, lax = (compare_latencies(own, other, 2.0, slack=most) for most in (0.0, slack))

    assert WORST[lax.verdict] <= WORST[strict.verdict]
    assert lax.median.limit >= strict.median.limit
    assert (lax.p95.lower, lax.p95.upper) == (strict.p95.lower, strict.p95.upper)


@given(latencies, st.integers(-3, 3))
def test_a_machine_that_is_slower_for_both_changes_nothing(calls: Floats, power: int) -> None:
    own, other = calls
    factor = 2.0**power
    assert compare_latencies(own * factor, other * factor, 2.0) == compare_latencies(
        own, other, 2.0
    )


@given(latencies, st.floats(0, 1))
def test_a_slower_candidate_is_never_better_off(calls: Floats, more: float) -> None:
    own, other = calls
    faster, slower = (compare_latencies(calls, other, 2.0) for calls in (own, own + more))

    assert WORST[faster.verdict] <= WORST[slower.verdict]
    assert faster.p95.lower <= slower.p95.lower


@given(latencies)
def test_load_that_both_calls_of_a_pair_share_alike_leaves_no_doubt(calls: Floats) -> None:
    found = compare_latencies(calls[0] * 3, calls[0], 2.0)

    assert found.median.value == pytest.approx(3)
    if found.median.bounded:
        assert (found.median.lower, found.median.upper) == pytest.approx((3, 3))


def heavy_tails(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Lognormal with one call in fifty twenty times slower."""
    calls = generator.lognormal(-4.6, 1.0, (2, LOOKS[-1]))
    own, other = np.where(generator.random(calls.shape) < 0.02, 20 * calls, calls)
    return own, other


def shared_load(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """A load that wanders and swings by e^1.5 in time, the same for both calls of a pair."""
    moments = np.linspace(0, 2 * np.pi * generator.integers(1, 6), LOOKS[-1])
    wandering = np.cumsum(generator.normal(0, 0.1, LOOKS[-1]))
    load = np.exp(1.5 * np.sin(moments + generator.random()) + wandering)
    own, other = 0.005 * load * generator.lognormal(0, 0.4, (2, LOOKS[-1]))
    return own, other


def spikes(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """10 ms, and 100 ms more in one call of twenty: the p95 is on the edge of the spikes."""
    calls = generator.lognormal(-4.6, 0.3, (2, LOOKS[-1]))
    own, other = calls + np.where(generator.random(calls.shape) < 0.05, 0.1, 0)
    return own, other


def outcome(own: Floats, other: Floats, limit: float) -> LatencyComparison:
    """As the check does: looked at after so many calls, until it is clear."""
    found = compare_latencies(own[: LOOKS[0]], other[: LOOKS[0]], limit)
    for calls in LOOKS[1:]:
        if found.verdict != "inconclusive":
            break
        found = compare_latencies(own[:calls], other[:calls], limit)
    return found


def outcomes(noise: Noise, limit: float, runs: int, slower: float = 0.0) -> Counter[str]:
    told: Counter[str] = Counter()
    for seed in range(runs):
        own, other = noise(np.random.default_rng(seed))
        told[outcome(own + slower, other, limit).verdict] += 1
    return told


@pytest.mark.parametrize("noise", [heavy_tails, shared_load, spikes])
def test_identical_versions_are_told_worse_or_better_at_the_nominal_rate_at_most(
    noise: Noise,
) -> None:
    """With `1x champion` they are on the limit itself, where errors are most frequent."""
    told = outcomes(noise, 1.0, RUNS // 4)

    assert max(told["failed"], told["passed"]) <= 0.025 * RUNS // 4 + 1, told


def test_one_look_errs_in_its_share_of_the_cases_only() -> None:
    """Five looks share 2.5 %: 2 of 400 for each side, where each by itself would err in 20."""
    told: Counter[str] = Counter()
    for seed in range(400):
        own, other = heavy_tails(np.random.default_rng(seed))
        told[compare_latencies(own[:200], other[:200], 1.0).verdict] += 1

    assert told["failed"] <= 5, told
    assert told["passed"] <= 5, told


@pytest.mark.parametrize("noise", [heavy_tails, shared_load])
def test_identical_versions_pass_a_limit_of_twice_the_champion(noise: Noise) -> None:
    told = outcomes(noise, 2.0, RUNS)

    assert (told["failed"], told["passed"] >= 0.9 * RUNS) == (0, True), told


@pytest.mark.parametrize("noise", [heavy_tails, spikes])
def test_60_ms_more_never_pass_on_10_ms_with_spikes(noise: Noise) -> None:
    assert outcomes(noise, 2.0, RUNS, slower=0.06)["passed"] == 0

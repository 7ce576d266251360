"""Bounds of a share against another calculation, and at their ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from loopwright_deployer.staging.evaluation.share_bounds import least_calls, share_bounds

ALPHA = 0.005
COUNTS = st.integers(1, 400).flatmap(lambda calls: st.tuples(st.integers(0, calls), st.just(calls)))


@given(COUNTS)
def test_they_are_those_of_the_beta_distribution(counts: tuple[int, int]) -> None:
    hits, calls = counts
    found = share_bounds(hits, calls, ALPHA)

    low = beta.ppf(ALPHA, hits, calls - hits + 1) if hits else 0.0
    high = beta.ppf(1 - ALPHA, hits + 1, calls - hits) if hits < calls else 1.0
    assert found == pytest.approx((hits / calls, low, high), abs=1e-9)


def test_without_calls_nothing_is_known() -> None:
    assert share_bounds(0, 0, ALPHA) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("allowed", [0.02, 0.1, 0.5, 1.0])
def test_the_least_calls_without_a_hit_bound_the_share_and_one_less_does_not(
    allowed: float,
) -> None:
    calls = least_calls(allowed, ALPHA)

    assert share_bounds(0, calls, ALPHA).high <= allowed
    assert share_bounds(0, calls - 1, ALPHA).high > allowed or calls == 1

"""Which arm answers: sticky, monotone, and in proportion."""

from hypothesis import given
from hypothesis import strategies as st

from loopwright_scorer.routing.traffic_split import (
    TrafficShare,
    fallback_version,
    hash_position,
    in_traffic_order,
    select_version,
)

WEIGHTS = st.floats(0.01, 0.99)
KEYS = st.text(max_size=30)


def arm_of(key: str, canary: float) -> int:
    return select_version(
        in_traffic_order([TrafficShare(1, 1 - canary), TrafficShare(2, canary)]),
        hash_position("bank", key),
    )


@given(KEYS, WEIGHTS)
def test_a_key_always_gets_the_same_arm(key: str, weight: float) -> None:
    assert arm_of(key, weight) == arm_of(key, weight)


@given(KEYS, WEIGHTS, WEIGHTS)
def test_a_key_on_the_canary_stays_there_while_its_weight_grows(
    key: str, one: float, other: float
) -> None:
    lower, higher = sorted((one, other))

    assert not (arm_of(key, lower) == 2 and arm_of(key, higher) == 1)


@given(st.floats(0.05, 0.95), st.integers(0, 1000))
def test_shares_are_within_binomial_bounds(weight: float, salt: int) -> None:
    calls = 2000
    answered = sum(arm_of(f"{salt}-{i}", weight) == 2 for i in range(calls))

    spread = (calls * weight * (1 - weight)) ** 0.5
    assert abs(answered - calls * weight) < 5 * spread


def test_models_split_their_callers_independently() -> None:
    keys = [f"caller {i}" for i in range(400)]
    both = sum(hash_position("a", key) < 0.5 and hash_position("b", key) < 0.5 for key in keys)

    assert 60 < both < 140


def test_weights_that_do_not_quite_add_up_leave_no_key_out() -> None:
    assert select_version([TrafficShare(2, 0.1), TrafficShare(1, 0.899999)], 0.9999999) == 1


def test_an_arm_without_weight_gets_no_traffic() -> None:
    assert in_traffic_order([TrafficShare(1, 1.0), TrafficShare(2, 0.0)]) == (TrafficShare(1, 1.0),)


def test_the_heaviest_other_arm_stands_in() -> None:
    assert (
        fallback_version(
            [TrafficShare(3, 0.1), TrafficShare(2, 0.2), TrafficShare(1, 0.7)], closed=3
        )
        == 1
    )

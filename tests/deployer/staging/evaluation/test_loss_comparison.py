"""What is known of two losses: by hand, by properties, and how often it is wrong (simulated)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from loopwright_deployer.staging.evaluation.loss_comparison import (
    LEAST_ROWS,
    Floats,
    LossComparison,
    compare_losses,
    rows_to_tell,
)

DRAWS = 1000
Draw = np.random.Generator
Pair = tuple[Floats, Floats]


def losses(seed: int, shift: float = 0.0, rows: int = 1500) -> Pair:
    """Losses of one version and of another that is `shift` worse, noisy in runs of like rows."""
    draw = np.random.default_rng(seed)
    champion = draw.gamma(1.0, 0.4, rows)
    drift = np.convolve(draw.normal(0, 0.05, rows + 19), np.ones(20) / 20, "valid")
    return champion + drift + shift, champion


def test_as_good_passes_and_clearly_worse_fails() -> None:
    assert compare_losses(*losses(1), margin=0.01).verdict == "passed"
    assert compare_losses(*losses(1, shift=0.05), margin=0.01).verdict == "failed"


def test_what_may_be_on_either_side_of_the_margin_is_inconclusive() -> None:
    better, worse = (
        compare_losses(*losses(1, shift=shift, rows=228), margin=0.01) for shift in (0.007, 0.013)
    )

    assert (better.verdict, worse.verdict) == ("inconclusive", "inconclusive")
    assert better.lower < better.difference < 0.01 < better.upper
    assert worse.lower < 0.01 < worse.difference < worse.upper


def test_few_rows_are_inconclusive_whatever_they_say() -> None:
    few = LEAST_ROWS - 1

    assert compare_losses(*losses(1, rows=few), margin=0.5).verdict == "inconclusive"
    assert compare_losses(*losses(1, shift=9, rows=few), margin=0.5).verdict == "inconclusive"
    assert compare_losses(*losses(1, rows=few + 1), margin=0.5).verdict == "passed"


def test_the_same_rows_give_the_same_bounds() -> None:
    assert compare_losses(*losses(3), margin=0.01) == compare_losses(*losses(3), margin=0.01)


def test_more_rows_tell_what_fewer_did_not() -> None:
    own, other = losses(1, shift=0.006, rows=6000)
    unclear = compare_losses(own[:228], other[:228], margin=0.01)
    enough = int(rows_to_tell(unclear, 0.01))

    assert unclear.verdict == "inconclusive"
    assert 228 < enough < 6000
    assert str(enough)[2:].strip("0") == "", "two digits say how sure it is"
    assert compare_losses(own[: 2 * enough], other[: 2 * enough], margin=0.01).verdict == "passed"


def test_no_rows_tell_a_difference_that_is_the_margin() -> None:
    found = LossComparison("inconclusive", 300, 1.5, 1.0, 0.5, 0.4, 0.6)

    assert rows_to_tell(found, 0.5) == float("inf")
    assert rows_to_tell(found, 0.55) == rows_to_tell(found, 0.45) == 1200


def test_the_same_labels_on_few_rows_say_little_of_a_rare_difference() -> None:
    """On 200 rows that two versions label alike one may err on 1.9 % more of all."""
    wrong = np.arange(400) % 9 == 0
    same = wrong.astype(float)

    few, more = (compare_losses(same[:n], same[:n], margin=0.01) for n in (200, 400))

    assert (few.verdict, more.verdict) == ("inconclusive", "passed")
    assert few.upper == -few.lower == pytest.approx(0.0188, abs=1e-4)


def test_versions_with_the_same_figures_have_the_same_loss() -> None:
    same = np.random.default_rng(1).gamma(1.0, 0.4, 200)

    assert compare_losses(same, same, margin=0.01).verdict == "passed"


# Properties.

pairs = st.integers(1, 400).flatmap(
    lambda rows: arrays(np.float64, (2, rows), elements=st.floats(0, 1e3, width=32))
)
margins = st.floats(0, 1e3)
noisy_pairs = st.builds(
    lambda seed, rows: np.random.default_rng(seed).lognormal(size=(2, rows)),
    st.integers(0, 10**6),
    st.integers(30, 400),
)
"""That differ in every row."""


def compare(pair: Floats, margin: float, scale: Floats | None = None) -> LossComparison:
    return compare_losses(pair[0], pair[1], margin, scale)


@given(pairs, margins)
def test_the_verdict_is_on_the_side_that_the_difference_is(pair: Floats, margin: float) -> None:
    found = compare(pair, margin)

    assert found.lower <= found.difference <= found.upper
    if found.verdict == "passed":
        assert found.difference < margin
    if found.verdict == "failed":
        assert found.difference > margin


@given(pairs, margins)
def test_a_wider_margin_is_never_harder(pair: Floats, margin: float) -> None:
    order = ["failed", "inconclusive", "passed"]
    strict, wide = (compare(pair, margin * by).verdict for by in (1, 2))

    assert order.index(wide) >= order.index(strict)


@given(pairs)
def test_the_bounds_of_the_versions_in_turn_are_mirrored(pair: Floats) -> None:
    own, other = compare(pair, 0.0), compare(pair[::-1], 0.0)

    assert astuple(own)[4:] == pytest.approx(
        (-other.difference, -other.upper, -other.lower), rel=1e-6, abs=1e-6
    )


@given(noisy_pairs, st.floats(0, 2), st.integers(-20, 20))
def test_another_unit_changes_nothing(pair: Floats, margin: float, power: int) -> None:
    """In units of a power of two all figures are those of before, bit for bit."""
    unit = 2.0**power
    before, after = compare(pair, margin), compare(pair * unit, margin * unit)

    assert astuple(after)[2:] == tuple(each * unit for each in astuple(before)[2:])
    assert after.verdict == before.verdict


@given(noisy_pairs, st.floats(0, 2), st.integers(-20, 20))
def test_a_share_of_a_scale_has_no_unit(pair: Floats, margin: float, power: int) -> None:
    scale, unit = np.linspace(1, 3, pair.shape[1]), 2.0**power

    assert compare(pair * unit, margin, scale * unit) == compare(pair, margin, scale)


@given(noisy_pairs, st.floats(0.125, 8))
def test_a_constant_scale_is_a_unit(pair: Floats, unit: float) -> None:
    share, plain = compare(pair, 0.0, np.full(pair.shape[1], unit)), compare(pair, 0.0)

    assert [each * unit for each in astuple(share)[2:]] == pytest.approx(astuple(plain)[2:])


# The oracle: differences whose true mean is known, at the margin exactly.


def correlated(draw: Draw, rows: int, by: float) -> Floats:
    """Standard normal, each row correlated with the one before."""
    weights = by ** np.arange(60)
    noise = draw.standard_normal(rows + 59)
    return np.asarray(np.convolve(noise, weights * (1 - by * by) ** 0.5, "valid"))


def normal(draw: Draw, rows: int) -> Pair:
    return correlated(draw, rows, 0.3), np.zeros(rows)


def heavy_tails(draw: Draw, rows: int) -> Pair:
    """Student's t with three degrees of freedom: no third moment."""
    return draw.standard_t(3, rows), np.zeros(rows)


def skewed(draw: Draw, rows: int) -> Pair:
    """A few rows cost much more, as confident and wrong probabilities do."""
    return draw.exponential(1.0, rows) - 1.0, np.zeros(rows)


def more_skewed(draw: Draw, rows: int) -> Pair:
    return np.exp(draw.standard_normal(rows)), np.full(rows, np.exp(0.5))


def rare_errors(draw: Draw, rows: int) -> Pair:
    """On 1 % of the rows the challenger alone is wrong."""
    wrong = draw.random(rows) < 0.1
    return (wrong | (draw.random(rows) < 0.01 / 0.9)).astype(float), wrong.astype(float)


def more_errors(draw: Draw, rows: int) -> Pair:
    """Each is wrong on rows of its own: the challenger on 4, the champion on 3 of 100."""
    which = draw.random(rows)
    return (which < 0.04).astype(float), (which > 0.97).astype(float)


def log_losses(draw: Draw, rows: int) -> Pair:
    """The champion is calibrated, the challenger's log odds are noisy."""
    odds = 1.5 * draw.standard_normal(rows) - 1.5
    yes = draw.random(rows) < 1 / (1 + np.exp(-odds))
    noisy = odds + 0.5 * draw.standard_normal(rows)
    own, other = (np.logaddexp(0, np.where(yes, -each, each)) for each in (noisy, odds))
    return own, other


TRUTHS: dict[Callable[[Draw, int], Pair], float] = {
    normal: 0.0,
    heavy_tails: 0.0,
    skewed: 0.0,
    more_skewed: 0.0,
    rare_errors: 0.01,
    more_errors: 0.01,
}


@pytest.mark.parametrize("rows", [200, 500])
@pytest.mark.parametrize("make", TRUTHS, ids=lambda make: make.__name__)
def test_worse_by_the_margin_is_let_through_once_in_twenty_at_most(
    make: Callable[[Draw, int], Pair], rows: int
) -> None:
    found = verdicts(make, rows, TRUTHS[make])

    assert found["passed"] <= 0.05 * DRAWS, found
    assert found["failed"] <= 0.05 * DRAWS, found


def test_log_losses_at_the_margin_are_let_through_once_in_twenty_at_most() -> None:
    own, other = log_losses(np.random.default_rng(0), 1_000_000)
    found = verdicts(log_losses, 200, float((own - other).mean()))

    assert max(found["passed"], found["failed"]) <= 0.05 * DRAWS, found


def test_a_difference_in_r2_at_the_margin_is_let_through_once_in_twenty_at_most() -> None:
    found: Counter[str] = Counter()
    for seed in range(DRAWS):
        truth, noise, more = np.random.default_rng(seed).standard_normal((3, 200))
        challenger, champion = np.square(0.5 * noise + 0.3 * more), np.square(0.5 * noise)
        scale = np.square(truth - truth.mean())
        found[compare_losses(challenger, champion, 0.09, scale, seed=seed).verdict] += 1

    assert max(found["passed"], found["failed"]) <= 0.05 * DRAWS, found


def test_the_variance_is_no_better_known_than_the_losses() -> None:
    """Here the losses are known well, and all that is not is what they are shares of."""
    found: Counter[str] = Counter()
    for seed in range(DRAWS):
        noise, scale = np.random.default_rng(seed).exponential(size=(2, 200))
        own = 0.5 + 0.01 * (noise - 1)
        found[compare_losses(own, np.zeros(200), 0.5, scale, seed=seed).verdict] += 1

    assert max(found["passed"], found["failed"]) <= 0.05 * DRAWS, found


def test_what_is_known_is_said() -> None:
    """As good as the champion passes, and three margins worse fails, nearly always."""
    good, bad = (verdicts(normal, 20_000, margin, draws=60) for margin in (0.04, -0.04))

    assert good["passed"] >= 57, good
    assert bad["failed"] >= 57, bad


def verdicts(
    make: Callable[[Draw, int], Pair], rows: int, margin: float, draws: int = DRAWS
) -> Counter[Any]:
    """How often which is given of draws of a pair by the margin."""
    return Counter(
        compare_losses(*make(np.random.default_rng(seed), rows), margin, seed=seed).verdict
        for seed in range(draws)
    )

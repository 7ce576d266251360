"""The tests' promises, on simulated calls with fixed seeds, and against other calculations."""

from math import exp, log

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_deployer.canary.sequential_tests import (
    _MORE,
    Stratum,
    Tally,
    _log_highest,
    _log_highest_apart,
    difference_bounds,
    exceeds,
    exceeds_log_e,
    harmless_log_e,
    worse_log_e,
)
from loopwright_deployer.deployments.margin import Margin

MARGIN = Margin(1.5, 0.1)
LOOKS = 50
tallies = st.integers(0, 300).flatmap(
    lambda calls: st.builds(Tally, st.just(calls), st.integers(0, calls))
)
strata = st.builds(Stratum, tallies, tallies)


def stratum_at_each_look(
    seed: int, canary: float, champion: float, share: float = 0.1, calls: int = 10_000
) -> list[Stratum]:
    draw = np.random.default_rng(seed)
    own = draw.random(calls) < share
    hit = draw.random(calls) < np.where(own, canary, champion)
    found = []
    for end in range(calls // LOOKS, calls + 1, calls // LOOKS):
        mine, hits = own[:end], hit[:end]
        found.append(
            Stratum(
                Tally(int(mine.sum()), int((mine & hits).sum())),
                Tally(int((~mine).sum()), int((~mine & hits).sum())),
            )
        )
    return found


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(("canary", "champion"), [(0.02, 0.02), (0.3, 0.3), (0.01, 0.02)])
def test_who_is_no_worse_is_hardly_ever_called_worse(
    canary: float, champion: float, share: float
) -> None:
    wrong = 0
    for seed in range(200):
        looks = stratum_at_each_look(seed, canary, champion, share)
        wrong += any(worse_log_e([look]) >= log(100) for look in looks)
    assert wrong <= 2


@pytest.mark.parametrize(
    ("canary", "champion"), [(0.12, 0.02), (0.1, 0.0), (0.45, 0.3), (0.6, 0.4), (0.3, 0.02)]
)
def test_who_does_harm_is_hardly_ever_called_harmless(canary: float, champion: float) -> None:
    wrong = 0
    for seed in range(100):
        looks = stratum_at_each_look(seed, canary, champion, calls=2_000)
        before = Tally(500, int(500 * champion))
        wrong += any(harmless_log_e([look], before, MARGIN) >= log(20) for look in looks)
    assert wrong <= 5


@pytest.mark.parametrize("points", [0.02, 0.0])
@pytest.mark.parametrize("champion", [0.1, 0.5])
def test_who_is_worse_by_no_more_than_the_margin_is_hardly_ever_called_worse(
    champion: float, points: float
) -> None:
    """Over two strata, looked at as the hits become known."""
    wrong = 0
    for seed in range(200):
        strata = [
            stratum_at_each_look(2 * seed + first, champion + points, champion, share, calls=2_000)
            for first, share in enumerate((0.1, 0.5))
        ]
        looks = zip(*strata, strict=True)
        wrong += any(exceeds_log_e(look, points) >= log(100) for look in looks)
    assert wrong <= 2


@pytest.mark.parametrize("champion", [0.1, 0.5])
def test_who_is_as_good_is_hardly_ever_taken_for_worse_by_more_than_the_margin(
    champion: float,
) -> None:
    wrong = 0
    for seed in range(200):
        looks = stratum_at_each_look(seed, champion, champion, share=0.5, calls=2_000)
        wrong += any(exceeds_log_e([look], 0.02) >= log(100) for look in looks)
    assert wrong == 0


@pytest.mark.parametrize(("canary", "champion", "calls"), [(0.2, 0.1, 2_500), (0.3, 0.1, 600)])
def test_who_is_worse_by_more_than_the_margin_is_found(
    canary: float, champion: float, calls: int
) -> None:
    found = 0
    for seed in range(20):
        last = stratum_at_each_look(seed, canary, champion, share=0.5, calls=calls)[-1]
        found += exceeds_log_e([last], 0.02) >= log(100)
    assert found >= 18


def test_evidence_above_a_margin_is_the_mixture_of_bets_that_it_is_said_to_be() -> None:
    whole = Stratum(Tally(100, 50), Tally(100, 10))
    assert exceeds_log_e([whole], 0.02) == pytest.approx(
        log(
            sum(
                weight
                * (1 + (r / (1 + r) - 0.5) * 1.98) ** 50
                * (1 - (r / (1 + r) - 0.5) * 2.02) ** 10
                * (1 - (r / (1 + r) - 0.5) * 0.02) ** 140
                for r, weight in _MORE.items()
            )
        )
    )


def test_more_than_half_a_point_a_call_is_refused() -> None:
    with pytest.raises(ValueError, match=r"points: 0\.6 is not between -0\.5 and 0\.5"):
        exceeds_log_e([], 0.6)


def test_what_hits_both_arms_in_one_stratum_is_no_evidence() -> None:
    calm = Stratum(Tally(300, 1), Tally(2_700, 5))
    incident = Stratum(Tally(600, 300), Tally(600, 300))

    assert worse_log_e([calm, incident]) < log(2)
    assert not exceeds([calm, incident], 1.5)


def test_evidence_of_strata_multiplies() -> None:
    stratum = Stratum(Tally(100, 10), Tally(900, 10))

    assert worse_log_e([stratum, stratum]) == pytest.approx(2 * worse_log_e([stratum]))


def test_nothing_is_known_of_no_calls() -> None:
    nothing = Stratum(Tally(0, 0), Tally(0, 0))

    assert worse_log_e([nothing]) == 0
    assert harmless_log_e([nothing], Tally(1000, 0), MARGIN) == 0
    assert harmless_log_e([Stratum(Tally(0, 0), Tally(500, 0))], Tally(0, 0), MARGIN) <= 0


@pytest.mark.parametrize(("calls", "least", "most"), [(20, 0.5, 10), (60, 20, 1e4)])
def test_some_forty_faultless_calls_are_harmless(calls: int, least: float, most: float) -> None:
    stratum = Stratum(Tally(calls, 0), Tally(9 * calls, 0))

    assert least < exp(harmless_log_e([stratum], Tally(200, 0), MARGIN)) < most


@given(strata)
def test_more_hits_on_the_canary_never_make_it_less_worse(stratum: Stratum) -> None:
    canary, champion = stratum
    if canary.calls > 0 and champion.hits:
        moved = Stratum(
            Tally(canary.calls, min(canary.hits + 1, canary.calls)),
            Tally(champion.calls, champion.hits - (canary.hits < canary.calls)),
        )
        assert worse_log_e([moved]) >= worse_log_e([stratum]) - 1e-9


@given(strata)
def test_the_likelihood_of_harm_is_the_highest_of_a_fine_grid(stratum: Stratum) -> None:
    """So that no harm explains the calls better than what the evidence is held against."""
    canary, champion = stratum
    q = np.linspace(0, 1, 20_001)[1:-1]
    p = np.clip(np.maximum(np.maximum(1.5 * q, q + 0.1), canary.share), 1e-300, 1 - 1e-16)
    highest = (_log_likelihood(canary, p) + _log_likelihood(champion, q)).max()

    found = _log_highest(canary, champion, MARGIN)

    assert found >= highest - 1e-6
    assert found <= highest + 0.1


@given(strata, st.floats(-0.99, 0.99))
def test_the_likelihood_of_a_difference_is_the_highest_of_a_fine_grid(
    stratum: Stratum, difference: float
) -> None:
    canary, champion = stratum
    q = np.linspace(0, min(1.0, 1 - difference), 20_001)[1:-1]
    p = np.clip(np.maximum(q + difference, canary.share), 1e-300, 1 - 1e-16)
    highest = (_log_likelihood(canary, p) + _log_likelihood(champion, q)).max()

    assert highest - 1e-6 <= _log_highest_apart(canary, champion, difference) <= highest + 0.1


@pytest.mark.parametrize(
    ("canary", "champion"), [(0.02, 0.02), (0.3, 0.1), (0.0, 0.05), (0.5, 0.5)]
)
def test_the_bounds_of_a_difference_hold_at_all_looks_together(
    canary: float, champion: float
) -> None:
    wrong, before = 0, Tally(500, int(500 * champion))
    for seed in range(40):
        looks = stratum_at_each_look(seed, canary, champion, calls=2_000)
        bounds = [difference_bounds([look], before, 0.05) for look in looks]
        wrong += any(not low <= canary - champion <= high for low, high in filter(None, bounds))
        assert None not in bounds
    assert wrong <= 2


def test_the_bounds_of_a_difference_are_those_that_the_calls_leave() -> None:
    nothing = Stratum(Tally(0, 0), Tally(0, 0))
    harmful = Stratum(Tally(100, 40), Tally(900, 9))
    opposed = [Stratum(Tally(500, 2), Tally(500, 200)), Stratum(Tally(500, 200), Tally(500, 2))]

    assert difference_bounds([nothing], Tally(500, 0), 0.05) == (-1, 1)
    low, high = difference_bounds([harmful], Tally(500, 5), 0.05) or (0, 0)
    assert 0.15 < low < 0.39 < high < 0.65
    once = difference_bounds([harmful, harmful], Tally(500, 5), 0.05) or (0, 0)
    assert once[1] - once[0] < high - low
    assert difference_bounds(opposed, Tally(500, 5), 0.05) is None


def _log_likelihood(tally: Tally, share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hits, missed = tally.hits * np.log(share), (tally.calls - tally.hits) * np.log1p(-share)
    return np.asarray(hits + missed, np.float64)

"""What a version is told beside the champion, by answers that a test gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.errors import InvalidError
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.checks.holdout_comparison import (
    SHARED,
    TIMES_REMEDY,
    check_holdout,
)
from loopwright_deployer.staging.evaluation.holdout_rows import UnusableHoldoutError
from tests.deployer.staging.answering import (
    SPEC,
    classifier,
    held_out,
    labeller,
    regressor,
    version,
)

WORSE = {"better": -0.05, "as good": 0.0, "a bit worse": 0.009, "worse": 0.05}
"""By how much of the target's variance a version's squared error exceeds the champion's."""


def compared(
    challenger: StagedVersion, champion: StagedVersion | None, truth: Any, **policy: Any
) -> Check:
    return check_holdout(HoldoutPolicy(**policy), held_out(truth), challenger, champion)


def prices(worse: float, unit: float = 1.0, rows: int = 600) -> tuple[Any, Any, Any]:
    """A target in a unit, what a champion predicts, and what a version that is so much worse."""
    draw = np.random.default_rng(3)
    truth = draw.normal(3.0, 1.0, rows)
    noise, more = draw.normal(0.0, 1.0, (2, rows))
    champion = truth + 0.5 * noise
    challenger = truth + (0.25 + min(worse, 0)) ** 0.5 * noise + max(worse, 0) ** 0.5 * more
    return truth * unit, champion * unit, challenger * unit


def price_check(worse: float, unit: float = 1.0, **policy: Any) -> Check:
    truth, champion, challenger = prices(worse, unit)
    return compared(regressor(2, challenger), regressor(1, champion), truth, **policy)


def test_a_regressor_is_compared_by_shares_of_the_variance_unless_set() -> None:
    verdicts = {name: price_check(worse).verdict for name, worse in WORSE.items()}

    assert verdicts == {
        "better": "passed",
        "as good": "passed",
        "a bit worse": "inconclusive",
        "worse": "failed",
    }


@pytest.mark.parametrize("unit", [1e6, 1e-3, 3.28084], ids=["euros", "kilometres", "feet"])
@pytest.mark.parametrize("worse", WORSE.values(), ids=WORSE)
def test_the_unit_of_the_target_changes_no_verdict(worse: float, unit: float) -> None:
    plain, other = price_check(worse), price_check(worse, unit)

    assert other.verdict == plain.verdict
    assert other.measured == pytest.approx(plain.measured)
    assert other.sentence == plain.sentence


@given(st.floats(-6, 6), st.floats(-1e3, 1e3))
def test_neither_unit_nor_origin_of_the_target_changes_a_verdict(
    power: float, origin: float
) -> None:
    unit = 10.0**power
    for worse in WORSE.values():
        truth, champion, challenger = (
            each * unit + origin * unit for each in prices(worse, rows=300)
        )
        moved = compared(regressor(2, challenger), regressor(1, champion), truth)
        truth, champion, challenger = prices(worse, rows=300)
        plain = compared(regressor(2, challenger), regressor(1, champion), truth)

        assert moved.verdict == plain.verdict
        assert moved.measured == pytest.approx(plain.measured, rel=1e-6)


def test_a_margin_in_the_unit_of_the_target_is_one() -> None:
    """0.05 of the variance is 0.05 of a squared unit here, and 500 of it in hundredths."""
    strict, wide, hundredths = (
        price_check(0.05, unit, metric="squared_error", margin=margin).verdict
        for unit, margin in ((1.0, 0.02), (1.0, 0.2), (100.0, 2000.0))
    )

    assert (strict, wide, hundredths) == ("failed", "passed", "passed")


def test_each_metric_of_a_regressor_has_an_effect() -> None:
    """A few far misses cost much by the squared error and little by the absolute one."""
    draw = np.random.default_rng(1)
    truth = draw.normal(0.0, 1.0, 900)
    often, seldom = truth + 0.3, truth + np.where(np.arange(900) % 30 == 0, 3.0, 0.0)
    versions = regressor(2, seldom), regressor(1, often)

    squared, shares, absolute = (
        compared(*versions, truth, **policy)
        for policy in (
            {"metric": "squared_error", "margin": 0.01},
            {"metric": "r2"},
            {"metric": "absolute_error", "margin": 0.01},
        )
    )

    assert (squared.verdict, shares.verdict, absolute.verdict) == ("failed", "failed", "passed")
    assert (squared.unit, shares.unit, absolute.unit) == (
        "squared_error",
        "1 - r2",
        "absolute_error",
    )


def test_a_regressor_is_told_by_the_loss_that_it_has() -> None:
    truth = np.arange(200.0)
    alone = compared(regressor(1, truth + 2), None, truth)
    beside = compared(regressor(2, truth + 2), regressor(1, truth + 2), truth)

    assert alone.sentence == "1 - r2 0.0012 on 200 rows; no champion to compare"
    assert beside.sentence == (
        "1 - r2 0.0012 against the champion's 0.0012 on 200 later rows: difference +0, from +0 to"
        " +0 with 95 % confidence, allowed below +0.01"
    )


def test_what_is_not_clear_says_its_figures_and_what_would_end_it() -> None:
    truth, champion, challenger = prices(0.009)
    versions = regressor(2, challenger), regressor(1, champion)

    usual = compared(*versions, truth)
    closer = compared(*versions, truth, metric="r2", margin=0.005)

    assert (usual.verdict, closer.verdict) == ("inconclusive", "inconclusive")
    assert usual.sentence == (
        "1 - r2 0.2558 against the champion's 0.2514 on 600 later rows: difference +0.004431, from"
        " -0.00252 to +0.01111 with 95 % confidence, allowed below +0.01; not clear: at this"
        " difference it takes about 870 later rows (`register: {holdout: FILE}` of"
        " loopwright.yaml); else set a wider deploy.staging.holdout.margin of loopwright.yaml, or"
        " `loopwright deployments resume bank/2`"
    )
    assert closer.sentence.endswith(
        "not clear, and at this difference not by 20000 rows either, the most that are read: set a"
        " wider deploy.staging.holdout.margin of loopwright.yaml, or `loopwright deployments resume"
        " bank/2`"
    )


def test_labels_alone_are_compared_by_the_error_rate() -> None:
    truth = np.arange(600) % 2
    good, bad = truth, np.where(np.arange(600) % 5 == 0, 1 - truth, truth)

    passed = compared(labeller(2, good), classifier(1, bad), truth)
    failed = compared(classifier(2, bad * 0.9 + 0.05), labeller(1, good), truth)

    assert (passed.verdict, failed.verdict) == ("passed", "failed")
    assert passed.sentence.startswith("error_rate 0 against the champion's 0.2 on 600 later rows")


def test_a_champion_that_has_no_such_loss_is_told() -> None:
    truth = np.arange(300) % 2
    chances = truth * 0.8 + 0.1

    with pytest.raises(InvalidError, match="r2 is no loss of a classifier, which version 1 is"):
        compared(regressor(2, chances), classifier(1, chances), truth)
    with pytest.raises(InvalidError, match="brier is of probabilities, and version 1 answers"):
        compared(classifier(2, chances), labeller(1, truth), truth, metric="brier")


def test_answers_that_are_no_numbers_fail_and_the_champions_are_told() -> None:
    truth, champion, challenger = prices(0.0)
    challenger[:2] = np.nan, np.inf

    check = compared(regressor(2, challenger), regressor(1, champion), truth)
    assert check.verdict == "failed"
    assert check.sentence == "version 2 answers 2 of 600 rows with no finite figure"
    with pytest.raises(InvalidError, match="version 1 answers 2 of 600 rows with no finite"):
        compared(regressor(2, champion), regressor(1, challenger), truth)


def test_several_answers_a_row_are_not_compared() -> None:
    several = version(1, regressor(1, []).client, SPEC.model_copy(update={"targets": 2}))

    check = compared(several, None, [1.0])
    assert check.verdict == "skipped"
    assert check.sentence == "2 answers a row have no loss by one target"


def test_too_few_rows_are_told_with_the_first_version_and_with_what_helps() -> None:
    truth = np.arange(199.0)
    versions = regressor(2, truth), regressor(1, truth)

    alone = compared(versions[1], None, truth)
    shared = check_holdout(HoldoutPolicy(), held_out(truth), *versions, SHARED)
    later = compared(*versions, truth)

    assert alone.verdict == "passed"
    assert alone.sentence.endswith("to compare the next version takes 200 rows, hold out more")
    assert (shared.verdict, later.verdict) == ("inconclusive", "inconclusive")
    assert shared.sentence == (
        "only 199 labelled rows in the holdout of both, 200 needed: hold out 200 or more that"
        " neither version was trained on (`register: {holdout: FILE}` of loopwright.yaml); else"
        " `loopwright deployments resume bank/2`"
    )
    assert f"200 needed: {TIMES_REMEDY}; else " in later.sentence


def test_no_rows_at_all_are_nothing_to_measure_by() -> None:
    with pytest.raises(UnusableHoldoutError, match="no labelled rows"):
        compared(regressor(1, []), None, [])

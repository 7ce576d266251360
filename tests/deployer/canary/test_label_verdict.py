"""The labels of a canary's calls become a verdict, with the figures that it follows from."""

import pytest

from loopwright_common.events import LabelledCalls, LabelledStep
from loopwright_deployer.canary.label_verdict import judge_labels

MARGIN = 0.02


def step(canary: tuple[int, float], champion: tuple[int, float]) -> LabelledStep:
    arms = [LabelledCalls(calls=calls, wrong=wrong) for calls, wrong in (canary, champion)]
    return LabelledStep(canary=arms[0], champion=arms[1])


def test_a_version_known_to_be_wrong_more_often_than_allowed_fails_and_says_by_how_much() -> None:
    check = judge_labels([step((100, 30), (900, 90)), step((400, 120), (400, 40))], MARGIN)

    assert check.verdict == "failed"
    assert check.measured == pytest.approx(0.2)
    assert (check.limit, check.unit) == (MARGIN, "of labelled calls")
    assert "150 of 500 labelled calls (30.0%) of the canary were wrong on the new" in check.sentence
    assert "130 of 1300 labelled calls (10.0%) on the champion of that time" in check.sentence
    assert "2 points more may be" in check.sentence
    assert check.comparison is not None
    assert check.comparison.worse >= check.comparison.worse_limit == 100
    assert check.comparison.low is not None
    assert check.comparison.high is not None
    assert MARGIN < check.comparison.low < 0.2 < check.comparison.high


def test_a_version_that_is_wrong_as_often_passes_once_that_is_known() -> None:
    few = judge_labels([step((20, 2), (180, 18))], MARGIN)
    many = judge_labels([step((20_000, 2000), (20_000, 2000))], MARGIN)

    assert (few.verdict, many.verdict) == ("inconclusive", "passed")


def test_wrong_more_often_by_less_than_the_margin_is_no_reason_to_go_back() -> None:
    steps = [step((50_000, 5_500), (50_000, 5_000))]

    assert judge_labels(steps, 0.02).verdict == "passed"
    assert judge_labels(steps, 0.001).verdict == "failed"


def test_labels_of_one_version_alone_say_nothing() -> None:
    check = judge_labels([step((0, 0), (900, 90)), step((50, 50), (0, 0))], MARGIN)

    assert (check.verdict, check.comparison) == ("inconclusive", None)
    assert check.sentence == "no calls of both versions have labels yet"


def test_what_changes_between_the_steps_is_not_held_against_the_version() -> None:
    """An hour in which both are wrong more often, and the canary has more of the traffic."""
    hour = [step((100, 5), (900, 45)), step((500, 250), (500, 250))]

    assert judge_labels(hour, MARGIN).verdict != "failed"


def test_worse_in_one_step_alone_takes_nothing_back() -> None:
    """An hour that suits the champion, and a longer one that suits the version as much."""
    unlike = [step((500, 150), (500, 50)), step((2000, 100), (2000, 500))]

    assert judge_labels(unlike[:1], MARGIN).verdict == "failed"
    assert judge_labels(unlike, MARGIN).verdict != "failed"


def test_the_verdict_on_a_regressor_says_above_which_error_it_is_wrong() -> None:
    check = judge_labels([step((100, 50), (100, 10))], MARGIN, wrong_above=12.34)

    assert "50 of 100 labelled calls (50.0%) of the canary were off by more than 12.34" in (
        check.sentence
    )

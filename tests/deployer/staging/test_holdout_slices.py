"""What losses say by the values of a column: which slices there are, and how sure each is."""

import math
from typing import Any

import numpy as np
import pytest

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout
from loopwright_deployer.staging.evaluation.loss_comparison import compare_losses
from loopwright_deployer.staging.holdout_slices import (
    compare_slices,
    slices_of,
    slices_refusal,
    told,
)


def holdout_of(**columns: list[Any]) -> Holdout:
    rows = len(next(iter(columns.values())))
    return Holdout({**columns, "y": [0.0] * rows}, "y", rows)


def sizes(*columns: str, **cells: list[Any]) -> dict[str, int]:
    found = slices_of(holdout_of(**cells), columns or list(cells))
    return {f"{each.column}: {each.value}": int(each.rows.sum()) for each in found}


def test_categories_are_slices_where_they_have_enough_rows() -> None:
    jobs = ["nurse"] * 300 + ["clerk"] * 200 + ["farmer"] * 199 + [None] * 250

    assert sizes(job=jobs) == {"job: nurse": 300, "job: clerk": 200, "job: missing": 250}
    assert sizes(flag=[True] * 200 + [False] * 250) == {"flag: False": 250, "flag: True": 200}
    assert sizes(few=[1, 2] * 200) == {"few: 1": 200, "few: 2": 200}


def test_numbers_are_slices_by_their_quarters() -> None:
    numbers = [*range(1, 1001), *[math.nan] * 200]

    assert sizes(n=numbers) == {
        "n: up to 250": 250, "n: above 250 to 500": 250, "n: above 500 to 750": 250,
        "n: above 750": 250, "n: missing": 200,
    }  # fmt: skip
    skewed = [0.0] * 900 + list(range(1, 301))
    assert sizes(n=skewed) == {"n: up to 0": 900, "n: above 0": 300}
    endless = [*range(500), *[math.inf] * 500]
    assert sizes(n=endless) == {
        "n: up to 249": 250,
        "n: above 249 to 499": 250,
        "n: above 499 to inf": 500,
    }


def test_no_row_is_in_two_slices_of_a_column() -> None:
    cells = {"n": np.random.default_rng(1).normal(size=2000).tolist(), "c": ["a", "b"] * 1000}
    found = slices_of(holdout_of(**cells), ["n", "c"])

    for column in cells:
        counts = sum(each.rows.astype(int) for each in found if each.column == column)
        assert set(np.asarray(counts).tolist()) == {1}


def test_one_slice_is_compared_as_all_rows_are() -> None:
    own, other = np.random.default_rng(2).normal(1.0, 0.3, (2, 400))
    slices = slices_of(holdout_of(c=["a"] * 400), ["c"])

    (compared,) = compare_slices(slices, own, other, 0.01)

    assert compared.found == compare_losses(own, other, 0.01)
    assert compared.confidence == pytest.approx(0.95)


def test_of_more_slices_each_has_to_be_surer() -> None:
    own, other = np.random.default_rng(2).normal(1.0, 0.3, (2, 2000))
    alone = slices_of(holdout_of(c=["a"] * 400 + ["b"] * 199 + [None] * 1401), ["c"])[:1]
    many = slices_of(holdout_of(c=np.repeat(list("abcde"), 400).tolist()), ["c"])

    (wide,) = (each.found for each in compare_slices(many, own, other, 0.01) if each.value == "a")
    (narrow,) = (each.found for each in compare_slices(alone, own, other, 0.01))

    assert wide.lower < narrow.lower < narrow.upper < wide.upper
    assert compare_slices(many, own, other, 0.01)[0].confidence == pytest.approx(0.99)


def test_hardly_ever_fails_one_of_many_slices_by_mistake() -> None:
    """All slices have the margin exactly as their difference, so each that fails is a mistake."""
    slices = slices_of(holdout_of(c=np.repeat(list("abcdefghij"), 200).tolist()), ["c"])
    mistakes = 0
    for seed in range(60):
        own = np.random.default_rng(seed).normal(0.01, 1.0, 2000)
        found = compare_slices(slices, own, np.zeros(2000), 0.01)
        mistakes += any(each.found.verdict == "failed" for each in found)

    assert mistakes <= 6  # 1.5 are expected of 60; without the split, 13 would be.


def test_a_share_of_the_variance_is_one_of_all_rows() -> None:
    own, other = np.full(400, 2.0), np.full(400, 1.0)
    scale = np.repeat([1.0, 7.0], 200)
    slices = slices_of(holdout_of(c=["a"] * 200 + ["b"] * 200), ["c"])

    found = [each.found.difference for each in compare_slices(slices, own, other, 0.01, scale)]

    assert found == [0.25, 0.25]


def test_a_sentence_has_what_is_worse_and_how_many_others() -> None:
    own = np.repeat([0.5, 0.0, 0.0], 300) + np.random.default_rng(1).normal(0, 0.01, 900)
    own[600:] += np.tile([2.0, -2.0], 150)
    slices = slices_of(holdout_of(c=np.repeat(["x", "y", "z"], 300).tolist()), ["c"])
    compared = compare_slices(slices, own, np.zeros(900), 0.01)

    sentence = told(compared, lambda value: f"{value:+.1f}")

    assert sentence == (
        "; worse by more than the margin where c is x: by +0.5, from +0.5 to +0.5 on 300 rows"
        "; of 3 slices 1 known to be no worse, 1 not clear, 1 worse (98.33 % confidence each)"
    )
    assert told([], str) == "; no slice has 200 rows"


@pytest.mark.parametrize(
    ("column", "why"),
    [("b", "no column b: it has a, l, y"), ("l", "l has neither categories nor numbers")],
)
def test_slices_that_cannot_be_are_refused_with_the_key(column: str, why: str) -> None:
    holdout = holdout_of(a=[1], l=[[1, 2]])

    refused = slices_refusal(HoldoutPolicy(slices=["a", column]), holdout)

    assert refused is not None
    assert refused.startswith("deploy.staging.holdout.slices: ")
    assert why in refused
    assert slices_refusal(HoldoutPolicy(slices=["a"]), holdout) is None

"""River's learners as JSON: what they answer after it, and what does not go."""

import datetime as dt
import json
import os
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from typing import Any

import numpy as np
import pytest
from river import linear_model, stats, tree

from loopwright_common.serving import river_json
from loopwright_common.serving.river_json import NotPlainError
from tests.common.serving.river_json.learners import CLASSIFIERS, REGRESSORS, rows_for, taught


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_and_learns_on_as_before(name: str) -> None:
    learner = taught(name, 300)

    again = river_json.loads(river_json.dumps(learner))

    seen = rows_for(name, 50)
    for row in seen:
        assert again.predict_proba_one(row) == learner.predict_proba_one(row)
        learner.learn_one(row, row["a"] > 0.5)
        again.learn_one(row, row["a"] > 0.5)
    assert again.predict_proba_one(seen[0]) == learner.predict_proba_one(seen[0])


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_before(name: str) -> None:
    learner = taught(name, 300)

    again = river_json.loads(river_json.dumps(learner))

    for row in rows_for(name, 50):
        assert again.predict_one(row) == pytest.approx(learner.predict_one(row), rel=1e-9)


def test_shared_and_cyclic_state_stays_so_and_infinity_is_kept() -> None:
    learner: Any = linear_model.LinearRegression()
    loop: list[Any] = [float("inf"), b"\x00"]
    loop.append(loop)
    learner.kept = [loop, loop]

    again = river_json.loads(river_json.dumps(learner))

    assert again.kept[0] is again.kept[1]
    assert again.kept[0][2] is again.kept[0]
    assert again.kept[0][:2] == [float("inf"), b"\x00"]


@pytest.mark.parametrize(
    "value",
    [
        deque([1, 2], maxlen=3),
        Counter({"a": 2}),
        OrderedDict([("b", 1), ("a", 2)]),
        defaultdict(int, {("a", 1): 2}),
        {dt.date(2026, 1, 2): dt.datetime(2026, 1, 2, 3, 4)},  # noqa: DTZ001
        dt.timedelta(days=1, seconds=2),
        frozenset({1, "a", (None, 2.5)}),
        range(1, 9, 2),
    ],
)
def test_a_container_comes_back_as_it_was(value: Any) -> None:
    learner: Any = linear_model.LinearRegression()
    learner.kept = value

    again = river_json.loads(river_json.dumps(learner)).kept

    assert again == value
    assert type(again) is type(value)
    assert getattr(again, "maxlen", None) == getattr(value, "maxlen", None)
    assert list(again) == list(value) if hasattr(value, "__iter__") else True


def test_arrays_numpy_scalars_and_makers_come_back() -> None:
    learner: Any = linear_model.LinearRegression()
    learner.kept = [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.float32(0.5)]
    learner.maker = partial(stats.EWMean, fading_factor=0.25)

    again = river_json.loads(river_json.dumps(learner))

    np.testing.assert_array_equal(again.kept[0], learner.kept[0])
    assert again.kept[0].flags.f_contiguous
    assert again.kept[1] == np.float32(0.5)
    assert again.maker().fading_factor == 0.25


def test_a_tree_deeper_than_python_may_recurse_is_kept() -> None:
    learner: Any = tree.HoeffdingTreeRegressor()
    held: list[Any] = []
    learner.kept = held
    for _ in range(20_000):
        held.append([])
        held = held[0]

    again = river_json.loads(river_json.dumps(learner)).kept
    depth = 0
    while again:
        (again,), depth = again, depth + 1

    assert depth == 20_000


class Own(stats.Mean):
    """Not River's."""


class OwnList(list[int]):
    """Not a list only."""


@pytest.mark.parametrize(
    "strange",
    [lambda row: row, Own(), OwnList(), open, json.dumps, object(), os.environ.get, iter([1])],
)
def test_what_is_not_rivers_is_named_and_left_to_a_pickle(strange: Any) -> None:
    learner: Any = linear_model.LinearRegression()
    learner.kept = strange

    with pytest.raises(NotPlainError, match="pickle only"):
        river_json.dumps(learner)


def test_rivers_own_that_is_not_served_is_left_to_a_pickle() -> None:
    learner: Any = linear_model.LinearRegression()
    from river.datasets import synth

    learner.kept = synth.Agrawal()

    with pytest.raises(NotPlainError, match="Agrawal is not among"):
        river_json.dumps(learner)

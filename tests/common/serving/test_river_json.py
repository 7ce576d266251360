"""River's learners as JSON: what they answer after it, what does not go, what is not opened."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from river import (
    compose,
    ensemble,
    forest,
    linear_model,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    tree,
)

from loopwright_common.serving import river_json
from loopwright_common.serving.river_json import NotPlainError

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "softmax": lambda: preprocessing.MinMaxScaler() | linear_model.SoftmaxRegression(),
    "gaussian": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=20),
    "forest": lambda: forest.ARFClassifier(n_models=2, seed=1),
    "bagging": lambda: ensemble.ADWINBaggingClassifier(linear_model.LogisticRegression(), 2, 1),
    "text": lambda: (
        compose.TransformerUnion(
            compose.Select("a") | preprocessing.StandardScaler(),
            compose.Select("c") | preprocessing.OneHotEncoder(),
        )
        | linear_model.LogisticRegression()
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: (
        preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.Adam())
    ),
    "bayesian": linear_model.BayesianLinearRegression,
    "tree": lambda: tree.HoeffdingAdaptiveTreeRegressor(grace_period=20, seed=1),
    "target": lambda: preprocessing.TargetStandardScaler(linear_model.LinearRegression()),
}


def rows(count: int) -> list[dict[str, Any]]:
    draw = random.Random(1)  # noqa: S311
    return [
        {"a": draw.gauss(0, 1), "b": draw.random(), "c": draw.choice("xyz")} for _ in range(count)
    ]


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {"a": row["a"], "b": row["b"]}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_and_learns_on_as_before(name: str) -> None:
    learner = CLASSIFIERS[name]()
    seen = rows(300) if name == "text" else [numbers(row) for row in rows(300)]
    for row in seen:
        learner.learn_one(row, row["a"] > 0)

    again = river_json.loads(river_json.dumps(learner))

    for row in seen[:50]:
        assert again.predict_proba_one(row) == learner.predict_proba_one(row)
        learner.learn_one(row, row["a"] > 0.5)
        again.learn_one(row, row["a"] > 0.5)
    assert again.predict_proba_one(seen[0]) == learner.predict_proba_one(seen[0])


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_before(name: str) -> None:
    learner = REGRESSORS[name]()
    seen = [numbers(row) for row in rows(300)]
    for row in seen:
        learner.learn_one(row, row["a"] * 2)

    again = river_json.loads(river_json.dumps(learner))

    for row in seen[:50]:
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


class Own(stats.Mean):
    """Not River's."""


@pytest.mark.parametrize("strange", [lambda row: row, Own(), open, json.dumps, object()])
def test_what_is_not_rivers_is_named_and_left_to_a_pickle(strange: Any) -> None:
    learner: Any = linear_model.LinearRegression()
    learner.kept = strange

    with pytest.raises(NotPlainError, match="pickle only"):
        river_json.dumps(learner)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "os:system"},
        {"name": "builtins:exec"},
        {"name": "river.base.base:inspect.sys.exit"},
        {"name": "river.base.base:typing"},
        {"call": "subprocess:Popen", "arguments": ["true"], "state": None},
        {"name": "river.stream.iter_csv:csv.reader"},
        {"call": "river.linear_model.log_reg:LogisticRegression", "arguments": [], "state": None},
        {"method": "__reduce__", "of": "text"},
    ],
)
def test_a_document_cannot_name_what_is_not_rivers(entry: dict[str, Any]) -> None:
    document = {"format": 1, "root": {"at": 0}, "heap": [entry]}

    with pytest.raises((NotPlainError, AttributeError)):
        river_json.loads(json.dumps(document))

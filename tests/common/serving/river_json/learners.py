"""River's learners, as users put them together, after a few rows."""

import random
from collections.abc import Callable
from typing import Any

from river import (
    compose,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    tree,
)

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "softmax": lambda: preprocessing.MinMaxScaler() | linear_model.SoftmaxRegression(),
    "gaussian": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=20),
    "forest": lambda: forest.ARFClassifier(n_models=2, seed=1),
    "mondrian": lambda: forest.AMFClassifier(n_estimators=2, seed=1),
    "bagging": lambda: ensemble.ADWINBaggingClassifier(linear_model.LogisticRegression(), 2, 1),
    "neighbours": neighbors.KNNClassifier,
    "text": lambda: (
        compose.TransformerUnion(
            compose.Select("a") | preprocessing.StandardScaler(),
            compose.Select("c") | preprocessing.OneHotEncoder(),
        )
        | linear_model.LogisticRegression()
    ),
    "words": lambda: (
        feature_extraction.BagOfWords(on="c", ngram_range=(1, 2)) | naive_bayes.MultinomialNB()
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: (
        preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.Adam())
    ),
    "robust": lambda: preprocessing.RobustScaler() | linear_model.PARegressor(),
    "bayesian": linear_model.BayesianLinearRegression,
    "tree": lambda: tree.HoeffdingAdaptiveTreeRegressor(grace_period=20, seed=1),
    "target": lambda: preprocessing.TargetStandardScaler(linear_model.LinearRegression()),
}
WITH_TEXT = ("text", "words")


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of two numbers and a word."""
    draw = random.Random(1)  # noqa: S311
    words = ["red wine", "white wine", "beer"]
    return [
        {"a": draw.gauss(0, 1), "b": draw.random(), "c": draw.choice(words)} for _ in range(count)
    ]


def rows_for(name: str, count: int) -> list[dict[str, Any]]:
    """The rows that a learner takes: the word only where it can do with one."""
    seen = rows(count)
    return seen if name in WITH_TEXT else [{"a": row["a"], "b": row["b"]} for row in seen]


def taught(name: str, count: int) -> Any:
    """A learner after so many rows."""
    classifies = name in CLASSIFIERS
    learner = (CLASSIFIERS if classifies else REGRESSORS)[name]()
    for row in rows_for(name, count):
        learner.learn_one(row, row["a"] > 0 if classifies else row["a"] * 2)
    return learner

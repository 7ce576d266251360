"""The three models: fitted, logged as MLflow skops packages, and packaged by the deployer."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = 30
_TRAINING_ROWS = 5_000
_ROWS = 4_096
_BANK = "apps/loopwright/src/loopwright/examples/bank/data/base.csv.gz"
_LEFT_OUT = ["duration", "day", "month"]


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model with rows to ask about.

    `rows` is a matrix [n, 30] or a frame of mixed columns, `expected` what the estimator itself
    says of them, [n, 2]. `package` is the MLflow package and `serving` what the deployer makes of
    it; `pickled` holds the estimator for servers that load it by joblib.
    """

    name: str
    rows: Any
    expected: np.ndarray
    package: Path
    serving: Path
    pickled: Path

    @property
    def tabular(self) -> bool:
        return not isinstance(self.rows, np.ndarray)


def make(name: str, directory: Path) -> Model:
    """Fit, save and package one of `MAKERS` in a directory of its own."""
    import joblib

    estimator, rows = MAKERS[name]()
    place = directory / name
    place.mkdir(parents=True)
    joblib.dump(estimator, place / "model.joblib")
    _save(estimator, rows, place / "package")
    _package(rows, place)
    asked = rows[:_ROWS]
    return Model(
        name=name,
        rows=asked,
        expected=estimator.predict_proba(asked),
        package=place / "package",
        serving=place / "serving",
        pickled=place / "model.joblib",
    )


def _logistic() -> tuple[Any, Any]:
    from sklearn.linear_model import LogisticRegression

    rows, labels = _numbers()
    return LogisticRegression(max_iter=500).fit(rows, labels), rows


def _forest() -> tuple[Any, Any]:
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = _numbers()
    forest = RandomForestClassifier(100, min_samples_leaf=5, random_state=0)
    return forest.fit(rows, labels), rows


def _boosting() -> tuple[Any, Any]:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    with gzip.open(_BANK) as file:
        table = pd.read_csv(file).drop(columns=_LEFT_OUT)
    labels = table.pop("y")
    numbers = table.select_dtypes("number").columns.tolist()
    words = table.columns.difference(numbers, sort=False).tolist()
    columns = make_column_transformer(
        ("passthrough", numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
    )
    boosting = HistGradientBoostingClassifier(random_state=0)
    return make_pipeline(columns, boosting).fit(table, labels), table


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "logistic": _logistic,
    "forest": _forest,
    "boosting": _boosting,
}


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(_TRAINING_ROWS, _NUMBERS))
    # Values as measuring instruments give them, not 17 random digits each.
    rows = rows.round(4)
    weights = draw.normal(size=_NUMBERS)
    return rows, (rows @ weights + draw.normal(size=_TRAINING_ROWS) > 0).astype(int)


def _save(estimator: Any, rows: Any, target: Path) -> None:
    import mlflow
    import skops.io
    from mlflow.models import infer_signature

    mlflow.sklearn.save_model(
        estimator,
        target,
        signature=infer_signature(rows, estimator.predict_proba(rows)),
        input_example=rows[:5],
        serialization_format="skops",
        skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(estimator)),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=["scikit-learn", "skops", "pandas"],
    )


def _package(rows: Any, place: Path) -> None:
    from loopwright_deployer.packaging.build import PackagingJob, build_package

    training = None
    if not isinstance(rows, np.ndarray):
        training = place / "training.parquet"
        rows.to_parquet(training)
    spec = build_package(
        PackagingJob(place / "package", place / "serving", "sha256:" + "0" * 64, training)
    )
    print(f"{place.name}: served as {spec.format}; {spec.parity}")

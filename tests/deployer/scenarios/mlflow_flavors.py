"""Registers a model of every kind with an unmodified mlflow client: `mlflow_flavors.py URL`."""

import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn import linear_model, svm

PAGE = Path(__file__).parents[3] / "docs" / "packages.md"
DRAW = np.random.default_rng(7)
ROWS = pd.DataFrame({"a": DRAW.normal(size=80), "b": DRAW.normal(size=80)})
CODED = ROWS.assign(job=pd.Categorical(DRAW.choice(["clerk", "nurse"], 80)))
YES = np.where(ROWS["a"] > 0, "yes", "no")
FIGURES = np.stack([ROWS["a"] * 2, ROWS["b"] - 1], axis=1)
FUNCTION = """
import mlflow.pyfunc

class Shifted(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return model_input[["a", "b"]].to_numpy() + [10.0, 20.0]
"""


def pickled(name: str) -> None:
    model = linear_model.LogisticRegression().fit(ROWS, YES)
    _holdout(ROWS.assign(y=YES))
    _log(mlflow.sklearn, name, ROWS, sk_model=model, serialization_format="cloudpickle")


def labels_only(name: str) -> None:
    model = svm.LinearSVC().fit(ROWS, YES)
    _log(mlflow.sklearn, name, ROWS, sk_model=model, serialization_format="pickle")


def several(name: str) -> None:
    model = linear_model.LinearRegression().fit(ROWS, FIGURES)
    _holdout(ROWS.assign(y=FIGURES[:, 0]))
    _log(mlflow.sklearn, name, ROWS, sk_model=model, serialization_format="skops")


def boosted(name: str) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, enable_categorical=True)
    model.fit(CODED, (YES == "yes").astype(int))
    _log(mlflow.xgboost, name, CODED, xgb_model=model, model_format="ubj")


def lighter(name: str) -> None:
    estimator = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, n_jobs=1)
    _log(mlflow.lightgbm, name, CODED, lgb_model=estimator.fit(CODED, YES).booster_)


def function(name: str) -> None:
    """A class in a module of the user's own, which comes with the package."""
    code = Path("shifted.py")
    code.write_text(FUNCTION)
    sys.path.insert(0, "")
    model = importlib.import_module("shifted").Shifted()
    _log(mlflow.pyfunc, name, ROWS, python_model=model, code_paths=[str(code)])


def documented() -> None:
    """The examples of docs/packages.md, as printed."""
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, {"__name__": "__main__"})  # noqa: S102
        mlflow.end_run()


def keras(name: str) -> None:
    """As its flavor lays it out, without Keras."""
    data = {"data": "data", "keras_backend": "jax"}
    loader = {"loader_module": "mlflow.keras", "data": "data"}
    mlflow.log_dict({"flavors": {"keras": data, "python_function": loader}}, "package/MLmodel")
    mlflow.log_text("", "package/data/model.keras")
    _register(name)


KINDS: dict[str, Callable[[str], None]] = {
    "pickle": pickled,
    "labels-only": labels_only,
    "function": function,
    "several": several,
    "xgboost": boosted,
    "lightgbm": lighter,
    "ungranted-pickle": pickled,
    "ungranted-function": function,
    "keras": keras,
}


def _log(flavor: Any, name: str, rows: Any, **options: Any) -> None:
    logged = flavor.log_model(
        name="model",
        signature=infer_signature(rows),
        input_example=rows[:3],
        pip_requirements=["scikit-learn", "pandas"],
        **options,
    )
    _register(name, logged.model_uri)


def _register(name: str, uri: str = "") -> None:
    run = mlflow.active_run()
    assert run is not None
    datasets = json.dumps({"holdout": {"target": "y"}})
    uri = uri or f"runs:/{run.info.run_id}/package"
    mlflow.register_model(uri, name, tags={"loopwright.datasets": datasets})


def _holdout(frame: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as directory:
        frame.to_parquet(Path(directory) / "holdout.parquet")
        mlflow.log_artifact(str(Path(directory) / "holdout.parquet"), "loopwright")


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment("kinds")
    for each, register in KINDS.items():
        with mlflow.start_run():
            register(each)
    documented()

"""Models of many kinds, logged with the MLflow client and packaged as the deployer does."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loopwright_deployer.packaging.build import PackagingJob, build_package

Fitted = tuple[Any, Any, str]
"""An estimator, rows to answer, and the format it is served in."""
ONNX, SKOPS = "onnx", "sklearn-skops"
_ROWS = 60


def packaged(directory: Path, model: Any, rows: Any, **more: Any) -> Path:
    """The serving package of a model logged with `rows` as signature and example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _log(directory / "logged", model, rows, **more)
        build_package(
            PackagingJob(directory / "logged", directory / "served", "sha256:" + "1" * 64)
        )
    return directory / "served"


def _log(directory: Path, model: Any, rows: Any, **more: Any) -> None:
    import mlflow
    from mlflow.models import infer_signature

    options = {"signature": infer_signature(rows), "input_example": rows[:40], **more}
    options["pip_requirements"] = ["mlflow"]  # what it would else find out takes seconds
    flavor = type(model).__module__.split(".")[0]
    if flavor == "sklearn" and "serialization_format" not in more:
        import skops.io

        types = skops.io.get_untrusted_types(data=skops.io.dumps(model))
        options |= {"serialization_format": "skops", "skops_trusted_types": types}
    if hasattr(model, "predict_from"):
        mlflow.pyfunc.save_model(directory, python_model=model.predict_from, **options)
    else:
        getattr(mlflow, flavor).save_model(model, directory, **options)


def numbers(*, missing: bool = False) -> pd.DataFrame:
    """Four columns of numbers."""
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({name: draw.normal(size=_ROWS) for name in "abcd"})
    if missing:
        frame.loc[::7, "b"] = np.nan
    return frame


def _mixed(*, coded: bool = False) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    jobs, towns = ["clerk", "nurse", "smith"], ["ulm", "bonn"]
    frame = pd.DataFrame(
        {
            "age": draw.normal(40, 9, _ROWS),
            "job": draw.choice(jobs, _ROWS),
            "rate": draw.normal(size=_ROWS),
            "town": draw.choice(towns, _ROWS),
        }
    )
    return frame.astype({"job": "category", "town": "category"}) if coded else frame


def _yes(rows: pd.DataFrame) -> Any:
    return (rows.iloc[:, 0] > rows.iloc[:, 0].median()).to_numpy()


def _three(rows: pd.DataFrame) -> Any:
    return np.digitize(rows.iloc[:, 0], rows.iloc[:, 0].quantile([0.3, 0.6]))


def _figure(rows: pd.DataFrame) -> Any:
    return 2 * rows["a"].to_numpy() - rows["d"].to_numpy() + 5


def _two_figures(rows: pd.DataFrame) -> Any:
    return np.stack([_figure(rows), rows["c"]], axis=1)


def _two_labels(rows: pd.DataFrame) -> Any:
    return np.stack([_yes(rows), rows["c"] > 0], axis=1).astype(int)


def _fitted(
    make: Callable[[], Any], rows: pd.DataFrame, answers: Callable[[pd.DataFrame], Any], form: str
) -> Fitted:
    return make().fit(rows, answers(rows)), rows, form


def _sk(name: str, **params: Any) -> Any:
    """A scikit-learn estimator, `module.Class`, fast to fit."""
    import importlib

    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), kind)(**params)


def _columns(last: Any) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["job", "town"]),
        (SimpleImputer(), ["age", "rate"]),
    )
    return make_pipeline(columns, last)


def _logged_numbers(last: Any) -> Any:
    """A pipeline with a step that no converter knows."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(np.abs), last)


def _xgb(kind: str, **params: Any) -> Any:
    import xgboost

    return getattr(xgboost, kind)(n_estimators=4, max_depth=3, n_jobs=1, **params)


def _lgb(kind: str, **params: Any) -> Any:
    import lightgbm

    few = {"n_estimators": 4, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
    return getattr(lightgbm, kind)(**few, **params)


def _case(make: Callable[[], Any], rows: Any, answers: Any, form: str) -> Callable[[], Fitted]:
    return lambda: _fitted(make, rows(), answers, form)


_LINEAR = partial(_sk, "linear_model.LogisticRegression")
_coded = partial(_mixed, coded=True)
_gaps = partial(numbers, missing=True)

CLASSIFIERS: Mapping[str, Callable[[], Fitted]] = {
    "a logistic regression": _case(_LINEAR, numbers, _yes, ONNX),
    "a forest of three classes": _case(
        partial(_sk, "ensemble.RandomForestClassifier", n_estimators=4), numbers, _three, ONNX
    ),
    "histogram boosting with missing values": _case(
        partial(_sk, "ensemble.HistGradientBoostingClassifier", max_iter=4), _gaps, _yes, ONNX
    ),
    "a pipeline over mixed columns": _case(lambda: _columns(_LINEAR()), _mixed, _yes, ONNX),
    "a pipeline that does not convert": _case(
        lambda: _logged_numbers(_LINEAR()), numbers, _three, SKOPS
    ),
    "XGBoost": _case(lambda: _xgb("XGBClassifier"), _gaps, lambda x: _yes(x).astype(int), ONNX),
    "XGBoost of three classes": _case(lambda: _xgb("XGBClassifier"), numbers, _three, ONNX),
    "XGBoost of dropped-out trees": _case(
        lambda: _xgb("XGBClassifier", booster="dart"), numbers, _three, "xgboost"
    ),
    "XGBoost with categories": _case(
        lambda: _xgb("XGBClassifier", enable_categorical=True),
        _coded,
        lambda x: (x["job"] == "nurse").to_numpy().astype(int),
        "xgboost",
    ),
    "LightGBM of text labels": _case(
        lambda: _lgb("LGBMClassifier"), _gaps, lambda x: np.where(_yes(x), "yes", "no"), ONNX
    ),
    "LightGBM of three classes": _case(lambda: _lgb("LGBMClassifier"), numbers, _three, ONNX),
    "LightGBM with categories": _case(
        lambda: _lgb("LGBMClassifier"),
        _coded,
        lambda x: np.where(x["job"] == "nurse", "yes", "no"),
        "lightgbm",
    ),
    "LightGBM in a pipeline": _case(lambda: _columns(_lgb("LGBMClassifier")), _mixed, _yes, ONNX),
    "XGBoost in a pipeline": _case(
        lambda: _columns(_xgb("XGBClassifier")), _mixed, lambda x: _yes(x).astype(int), ONNX
    ),
}
LABELLERS: Mapping[str, Callable[[], Fitted]] = {
    "ridge": _case(partial(_sk, "linear_model.RidgeClassifier"), numbers, _three, ONNX),
    "a linear support vector machine": _case(partial(_sk, "svm.LinearSVC"), numbers, _yes, ONNX),
    "a forest of two labels": _case(
        partial(_sk, "ensemble.RandomForestClassifier", n_estimators=3), numbers, _two_labels, ONNX
    ),
    "one of many for two labels": _case(
        lambda: _sk("multiclass.OneVsRestClassifier", estimator=_LINEAR()),
        numbers,
        _two_labels,
        ONNX,
    ),
    "two labels natively": _case(
        lambda: _logged_numbers(_sk("multioutput.MultiOutputClassifier", estimator=_LINEAR())),
        numbers,
        _two_labels,
        SKOPS,
    ),
    "XGBoost of two labels": _case(lambda: _xgb("XGBClassifier"), numbers, _two_labels, "xgboost"),
}
REGRESSORS: Mapping[str, Callable[[], Fitted]] = {
    "a linear regression": _case(
        partial(_sk, "linear_model.LinearRegression"), numbers, _figure, ONNX
    ),
    "a forest": _case(
        partial(_sk, "ensemble.RandomForestRegressor", n_estimators=3), numbers, _figure, ONNX
    ),
    "two figures": _case(
        partial(_sk, "linear_model.LinearRegression"), numbers, _two_figures, ONNX
    ),
    "two figures natively": _case(
        lambda: _logged_numbers(_sk("linear_model.Ridge")), numbers, _two_figures, SKOPS
    ),
    "XGBoost": _case(lambda: _xgb("XGBRegressor"), _gaps, _figure, ONNX),
    "XGBoost of counts": _case(
        lambda: _xgb("XGBRegressor", objective="count:poisson"),
        numbers,
        lambda x: np.abs(_figure(x)),
        ONNX,
    ),
    "XGBoost of two figures": _case(lambda: _xgb("XGBRegressor"), numbers, _two_figures, "xgboost"),
    "LightGBM": _case(lambda: _lgb("LGBMRegressor"), _gaps, _figure, ONNX),
    "LightGBM of a random forest": _case(
        lambda: _lgb("LGBMRegressor", boosting_type="rf", bagging_freq=1, bagging_fraction=0.5),
        numbers,
        _figure,
        "lightgbm",
    ),
}


def _xgb_booster(objective: str, answers: Any, predicts: str, **params: Any) -> tuple[Any, ...]:
    import xgboost

    rows = numbers()
    data = xgboost.DMatrix(rows, answers(rows))
    booster = xgboost.train({"objective": objective, "max_depth": 3, **params}, data, 4)
    return booster, rows, booster.predict(data), predicts


def _lgb_booster(objective: str, answers: Any, predicts: str, **params: Any) -> tuple[Any, ...]:
    import lightgbm

    rows = numbers()
    params |= {"objective": objective, "verbose": -1, "min_child_samples": 5}
    booster = lightgbm.train(params, lightgbm.Dataset(rows, answers(rows)), 4)
    return booster, rows, booster.predict(rows), predicts


BOOSTERS: Mapping[str, Callable[[], tuple[Any, ...]]] = {
    "XGBoost binary": lambda: _xgb_booster("binary:logistic", _yes, "chance"),
    "XGBoost softprob": lambda: _xgb_booster(
        "multi:softprob", _three, "probabilities", num_class=3
    ),
    "XGBoost softmax": lambda: _xgb_booster("multi:softmax", _three, "label", num_class=3),
    "XGBoost hinge": lambda: _xgb_booster("binary:hinge", _yes, "label"),
    "XGBoost squared error": lambda: _xgb_booster("reg:squarederror", _figure, "prediction"),
    "LightGBM binary": lambda: _lgb_booster("binary", _yes, "chance"),
    "LightGBM multiclass": lambda: _lgb_booster("multiclass", _three, "probabilities", num_class=3),
    "LightGBM poisson": lambda: _lgb_booster("poisson", lambda x: np.abs(_figure(x)), "prediction"),
}


def gappy() -> tuple[Any, Any]:
    """A pipeline over text and numbers, some missing, and truth values."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = _mixed()[["age", "job"]]
    rows["member"] = rows["age"] > 40
    rows.loc[::5, "age"], rows.loc[::7, "job"] = np.nan, None
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["job"]),
        (SimpleImputer(), ["age"]),
        ("passthrough", ["member"]),
    )
    return make_pipeline(columns, _LINEAR()).fit(rows, rows["member"]), rows


def stopped_early() -> tuple[Any, Any]:
    """An XGBoost classifier that went on for some rounds after its best."""
    rows = numbers()
    noise = np.random.default_rng(1).integers(0, 2, _ROWS)
    estimator = _xgb("XGBClassifier", early_stopping_rounds=2)
    estimator.set_params(n_estimators=30, learning_rate=1.0)
    half = _ROWS // 2
    estimator.fit(rows[:half], noise[:half], eval_set=[(rows[half:], noise[half:])], verbose=False)
    return estimator, rows


_WEIGHTS = np.random.default_rng(5).normal(size=(784, 10)).astype(np.float32) / 1000


def image_graph() -> Any:
    """Scores of ten digits from 28 by 28 grey values."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 28, 28, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 10])],
        [numpy_helper.from_array(_WEIGHTS, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    return made


def image_answers(images: Any) -> Any:
    return images.reshape(len(images), -1).astype(np.float32) @ _WEIGHTS


class Echo:
    """Stands for a Python function of one's own."""

    # Without type hints: MLflow would make a signature of them.
    predict_from = staticmethod(lambda model_input: model_input)


UNTRUSTED: Mapping[str, Callable[[], dict[str, Any]]] = {
    "scikit-learn": lambda: {
        "model": _LINEAR().fit(numbers(), _yes(numbers())),
        "serialization_format": "pickle",
    },
    "LightGBM": lambda: {
        "model": _lgb("LGBMClassifier").fit(numbers(), _yes(numbers())),
        "serialization_format": "cloudpickle",
    },
    "a Python function": lambda: {"model": Echo()},
}
REFUSED = {
    "scikit-learn": "flavor sklearn is not served.*pickle.*serialization_format='skops'",
    "LightGBM": "flavor lightgbm is not served.*pickle.*serialization_format='skops'",
    "a Python function": "flavor python_function is not served.*any code.*mlflow.onnx",
}

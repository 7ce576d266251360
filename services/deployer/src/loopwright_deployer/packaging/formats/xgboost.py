"""Opens XGBoost models kept as JSON or UBJ."""

import json
from typing import Any

from loopwright_common.model_files import check_model_file
from loopwright_common.serving.spec import Classes
from loopwright_deployer.packaging.formats.trees import TARGET_OPSET, TreeModel, open_trees
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.native_model import NativeModel, Predicts

_CHANCES: dict[str, Predicts] = {
    "binary:logistic": "chance",
    "binary:hinge": "label",
    "multi:softprob": "probabilities",
    "multi:softmax": "label",
}
"""Objectives of classifiers, and what MLflow answers for a raw booster of each."""


def open_xgboost(source: PackageSource) -> NativeModel:
    """A raw booster is what its objective makes it: a classifier or a regressor.

    InvalidError for an objective or a signature that is not served.
    """
    import xgboost

    check_model_file(source.file, "xgboost")
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(source.file)
    if best := booster.attr("best_iteration"):
        booster = _as_predicting(booster, int(best), source)
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective == "multi:softmax":
        # The same trees, answering with chances.
        booster.set_param({"objective": "multi:softprob"})
    classes = _classes(objective, learner)
    predicts = _CHANCES.get(objective, "prediction")
    if classes and source.model_class.startswith("xgboost.sklearn."):
        predicts = "label"
    return open_trees(source, _trees(booster, classes, predicts))


def _as_predicting(booster: Any, best: int, source: PackageSource) -> Any:
    """The scikit-learn interface predicts with the rounds up to the best one only."""
    if not source.model_class.startswith("xgboost.sklearn."):
        return booster
    return booster[: best + 1]


def _trees(booster: Any, classes: Classes | None, predicts: Predicts) -> TreeModel:
    def convert(initial_types: list[tuple[str, Any]]) -> Any:
        import onnxmltools

        unnamed = booster.copy()
        unnamed.feature_names = None  # the converter wants them named f0, f1...
        return onnxmltools.convert_xgboost(
            unnamed, initial_types=initial_types, target_opset=TARGET_OPSET
        )

    return TreeModel(
        kind="xgboost",
        file="model.ubj",
        width=booster.num_features(),
        names=booster.feature_names,
        categories=_categories(booster),
        classes=classes,
        predicts=predicts,
        content=bytes(booster.save_raw("ubj")),
        raw=booster.inplace_predict,
        convert=convert,
    )


def _classes(objective: str, learner: dict[str, Any]) -> Classes | None:
    if objective not in _CHANCES:
        return None
    return list(range(max(int(learner["learner_model_param"]["num_class"]), 2)))


def _categories(booster: Any) -> dict[int, Classes]:
    if "c" not in (booster.feature_types or ()):
        return {}
    known = booster.get_categories(export_to_arrow=True).to_arrow()
    return {at: values.to_pylist() for at, (_, values) in enumerate(known) if values is not None}

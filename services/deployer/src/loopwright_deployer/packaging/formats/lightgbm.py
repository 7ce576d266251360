"""Opens LightGBM models: a booster's text, or the scikit-learn interface's skops file."""

from collections.abc import Sequence
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from loopwright_common.serving.spec import Classes, Column
from loopwright_deployer.packaging.formats.skops import load_skops
from loopwright_deployer.packaging.formats.trees import TARGET_OPSET, TreeModel, open_trees
from loopwright_deployer.packaging.onnx.convert import are_numbers
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.native_model import NativeModel, Predicts, python_values

_CHANCES: dict[str, Predicts] = {
    "binary": "chance",
    "multiclass": "probabilities",
    "multiclassova": "probabilities",
}
"""Objectives of classifiers, and what MLflow answers for a raw booster of each."""


def open_lightgbm(source: PackageSource) -> NativeModel:
    """A raw booster is what its objective makes it: a classifier or a regressor.

    InvalidError for an objective or a signature that is not served.
    """
    import lightgbm

    if source.file.suffix != ".skops":
        check_model_file(source.file, "lightgbm")
        booster = lightgbm.Booster(model_file=source.file)
        return open_trees(source, _trees(source, booster, _classes(booster), _predicts(booster)))
    estimator, _ = load_skops(source)
    if not hasattr(estimator, "classes_"):
        return open_trees(source, _trees(source, estimator, None, "prediction"))
    if _objective(estimator.booster_) not in _CHANCES:
        raise InvalidError(
            "a LightGBM classifier with an objective of its own gives no probabilities;"
            " train it with binary, multiclass or multiclassova"
        )
    classes = python_values(estimator.classes_)
    return open_trees(source, _trees(source, estimator, classes, "label"))


def _trees(
    source: PackageSource, whole: Any, classes: Classes | None, predicts: Predicts
) -> TreeModel:
    import lightgbm

    content = getattr(whole, "booster_", whole).model_to_string()
    served = lightgbm.Booster(model_str=content)

    def convert(initial_types: list[tuple[str, Any]]) -> Any:
        import onnxmltools

        options = {"zipmap": False} if classes else {}
        return onnxmltools.convert_lightgbm(
            whole, initial_types=initial_types, target_opset=TARGET_OPSET, **options
        )

    return TreeModel(
        kind="lightgbm",
        file="model.txt",
        width=served.num_feature(),
        names=None,  # it goes by position, and rewrites names
        categories=_categories(served, source.columns or ()),
        classes=classes,
        predicts=predicts,
        content=content.encode(),
        raw=lambda rows: served.predict(rows, num_threads=1),
        convert=convert,
    )


def _objective(booster: Any) -> str:
    lines = booster.model_to_string(num_iteration=1).split("\n", 20)
    objective = next((line for line in lines if line.startswith("objective=")), "objective=")
    return str(objective.removeprefix("objective=").split(" ")[0])


def _classes(booster: Any) -> Classes | None:
    if _objective(booster) not in _CHANCES:
        return None
    return list(range(max(booster.num_model_per_iteration(), 2)))


def _predicts(booster: Any) -> Predicts:
    return _CHANCES.get(_objective(booster), "prediction")


def _categories(booster: Any, columns: Sequence[Column]) -> dict[int, Classes]:
    """LightGBM keeps the categories of pandas columns without saying of which columns."""
    known = booster.pandas_categorical or []
    text = [index for index, column in enumerate(columns) if not are_numbers([column])]
    named = sorted(booster.params.get("categorical_feature") or [])
    indices = next((each for each in (text, named) if len(each) == len(known)), None)
    if indices is None:
        raise InvalidError(
            "which columns have categories is not clear: make all categorical features pandas"
            " category columns of text"
        )
    return dict(zip(indices, known, strict=True))

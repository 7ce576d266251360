"""Packages on which native readers end their process, or would without a look through them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.serving.river_package import save
from tests.common.model_files.models import lightgbm_model, onnx_chain
from tests.deployer.builders import COLUMNS, customers, skops_package, with_example

CORPUS = Path(__file__).parent / "packaging" / "corpus"
_FIGURES = [{"type": "double", "name": name} for name in ("size", "job", "floor")]
_TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]


def damaged_tree(directory: Path) -> Path:
    """A scikit-learn tree whose root has a child far out of its memory: nothing looks for that."""
    from sklearn.tree import DecisionTreeRegressor, _tree

    frame, labels = customers(200)
    estimator = DecisionTreeRegressor(max_depth=2).fit(frame[["age", "rate"]], labels)
    state = estimator.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0] = 10**8
    broken = _tree.Tree(2, np.array([1]), 1)
    broken.__setstate__(state)
    estimator.tree_ = broken
    return with_example(
        skops_package(directory, estimator, COLUMNS[:2]), ["age", "rate"], [[30, 0.5]]
    )


def damaged_booster(directory: Path) -> Path:
    """The first of the corpus, in the package it stands for a file of."""
    directory.mkdir(parents=True)
    for file in (CORPUS / "xgboost" / "package").iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    damaged = CORPUS / "xgboost" / "child_out_of_range.json"
    (directory / "model.json").write_bytes(damaged.read_bytes())
    return directory


def damaged_text(directory: Path) -> Path:
    directory.mkdir(parents=True)
    text = lightgbm_model(directory / "model.txt").read_text()
    head, found, rest = text.partition("left_child=")
    (directory / "model.txt").write_text(f"{head}{found}9{rest}")
    return _mlmodel(directory, {"lightgbm": {"data": "model.txt"}}, _FIGURES)


def damaged_graph(directory: Path) -> Path:
    directory.mkdir(parents=True)
    onnx_chain(directory / "model.onnx", 100_000)
    return _mlmodel(directory, {"onnx": {"data": "model.onnx"}}, _TENSOR)


def damaged_learner(directory: Path) -> Path:
    from river import linear_model

    save(linear_model.LinearRegression(), directory, [{"a": 1.0}])
    content = (directory / "model.json").read_text()
    (directory / "model.json").write_text(content.replace("LinearRegression", "NoSuchClass"))
    return directory


def _mlmodel(directory: Path, flavors: dict[str, Any], inputs: list[dict[str, Any]]) -> Path:
    described = {"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}}
    (directory / "MLmodel").write_text(json.dumps(described))
    return directory


DAMAGED = {
    "skops": (damaged_tree, ["model.skops (skops)", "a decision tree is damaged"]),
    "xgboost": (damaged_booster, ["model.json is damaged, or no XGBoost model", "tree 0"]),
    "lightgbm": (damaged_text, ["model.txt is damaged, or no LightGBM model"]),
    "onnx": (damaged_graph, ["model.onnx is damaged, or no ONNX model", "deeper"]),
    "river": (damaged_learner, ["package cannot be opened", "NoSuchClass"]),
}
"""By format: what makes the package, and what the reason says."""

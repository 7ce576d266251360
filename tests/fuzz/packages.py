"""`python -m tests.fuzz.packages FORMAT...`: makes the sound packages of formats anew."""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.formats import CORPUS, FORMATS

_FLAVORS: dict[str, dict[str, Any]] = {
    "xgboost": {"xgboost": {"data": "model.json"}},
    "xgboost-ubj": {"xgboost": {"data": "model.ubj"}},
    "lightgbm": {"lightgbm": {"data": "model.txt"}},
    "onnx": {"onnx": {"data": "model.onnx"}},
    "skops": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
    "river": {"river": {"model": "model.json"}},
}
_ROWS = [[0.1, 0.2], [-1.0, 1.5], [2.0, -0.3]]


def _data() -> tuple[Any, Any]:
    import pandas as pd

    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 2)), columns=["a", "b"])
    return frame, (frame["a"] + frame["b"] > 0).astype(int)


def _xgboost(file: Path) -> None:
    import xgboost

    frame, labels = _data()
    matrix = xgboost.DMatrix(frame, labels)
    told = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1}
    xgboost.train(told, matrix, 2).save_model(file)


def _lightgbm(file: Path) -> None:
    import lightgbm

    frame, labels = _data()
    told = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    lightgbm.train(told, lightgbm.Dataset(frame, labels), 2).save_model(file)


def _onnx(file: Path) -> None:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, labels = _data()
    forest = RandomForestClassifier(2, max_depth=2, random_state=1)
    model = make_pipeline(StandardScaler(), forest).fit(frame.to_numpy(), labels)
    kinds = [("features", FloatTensorType([None, 2]))]
    graph = skl2onnx.to_onnx(model, initial_types=kinds, options={id(model): {"zipmap": False}})
    file.write_bytes(graph.SerializeToString())


def _skops(file: Path) -> None:
    import skops.io
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2, random_state=1))
    skops.io.dump(model.fit(*_data()), file)


def _river(file: Path) -> None:
    from river import naive_bayes, preprocessing

    from loopwright_common.serving import river_json

    draw = random.Random(1)  # noqa: S311
    learner = preprocessing.RobustScaler() | naive_bayes.GaussianNB()
    for _ in range(20):
        row = {"a": draw.gauss(0, 1), "b": draw.random()}
        learner.learn_one(row, row["a"] > 0)
    file.write_text(river_json.dumps(learner))


_MAKERS: dict[str, Callable[[Path], None]] = {
    "xgboost": _xgboost,
    "xgboost-ubj": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "skops": _skops,
    "river": _river,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.packages")
    parser.add_argument("formats", nargs="+", choices=_MAKERS)
    for name in parser.parse_args().formats:
        directory = CORPUS / name / "package"
        directory.mkdir(parents=True, exist_ok=True)
        _MAKERS[name](directory / FORMATS[name].file)
        inputs = [{"type": "double", "name": each, "required": True} for each in "ab"]
        described = {
            "flavors": _FLAVORS[name],
            "signature": {"inputs": json.dumps(inputs)},
            "saved_input_example_info": {
                "artifact_path": "input_example.json",
                "type": "dataframe",
            },
        }
        example = {"columns": ["a", "b"], "data": _ROWS}
        (directory / "MLmodel").write_text(json.dumps(described))
        (directory / "input_example.json").write_text(json.dumps(example))


if __name__ == "__main__":
    main()

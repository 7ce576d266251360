"""Sound models of each native format, small and made anew."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def rows() -> tuple[Any, np.ndarray]:
    """A frame with a number, text categories and numbered ones, and labels that depend on them."""
    import pandas as pd

    draw = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "size": draw.normal(size=300),
            "job": pd.Categorical(draw.choice(["nurse", "farmer", "clerk"], 300)),
            "floor": pd.Categorical(draw.integers(0, 5, 300)),
        }
    )
    labels = (frame["size"] + (frame["job"] == "nurse") + draw.normal(size=300) > 0).astype(int)
    return frame, labels.to_numpy()


def xgboost_model(path: Path, *, numbers: bool = False, **params: Any) -> Path:
    """Of `numbers` only, where the booster takes nothing else."""
    import xgboost

    frame, labels = rows()
    frame = frame[["size"]] if numbers else frame
    options = {"n_estimators": 4, "max_depth": 3, "max_cat_to_onehot": 1, "n_jobs": 1, **params}
    several = options.pop("several", False)
    kind = xgboost.XGBRegressor if several else xgboost.XGBClassifier
    targets = np.stack([labels, 1.5 * frame["size"]], axis=1) if several else labels
    kind(enable_categorical=not numbers, verbosity=0, **options).fit(frame, targets).save_model(
        path
    )
    return path


def lightgbm_model(path: Path, **params: Any) -> Path:
    import lightgbm

    frame, labels = rows()
    frame = frame[["size"]] if params.get("linear_tree") else frame
    options = {"n_estimators": 4, "num_leaves": 6, "n_jobs": 1, "verbosity": -1, **params}
    model = lightgbm.LGBMClassifier(**options).fit(frame, labels)
    model.booster_.save_model(path)
    return path


def onnx_trees(path: Path, **attributes: Any) -> Path:
    """Two small trees; with other attributes in place of theirs."""
    from onnx import TensorProto, helper

    trees: dict[str, Any] = {
        "nodes_treeids": [0] * 5 + [1] * 3,
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
        "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
        "nodes_modes": ["BRANCH_LEQ"] * 2 + ["LEAF"] * 3 + ["BRANCH_LEQ"] + ["LEAF"] * 2,
        "nodes_values": [0.0] * 8,
        "nodes_truenodeids": [1, 2, 0, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [4, 3, 0, 0, 0, 2, 0, 0],
        "target_treeids": [0, 0, 0, 1, 1],
        "target_nodeids": [2, 3, 4, 1, 2],
        "target_ids": [0] * 5,
        "target_weights": [1.0, 2.0, 3.0, 4.0, 5.0],
        "n_targets": 1,
    }
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **(trees | attributes)
    )
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([node], "trees", [given], [answer])
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=versions, ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path


def onnx_chain(path: Path, depth: int) -> Path:
    """One tree, each split of which has a leaf and the next split."""
    nodes = 2 * depth + 1
    leaves = list(range(depth, nodes))
    return onnx_trees(
        path,
        nodes_treeids=[0] * nodes,
        nodes_nodeids=list(range(nodes)),
        nodes_featureids=[0] * nodes,
        nodes_modes=["BRANCH_LEQ"] * depth + ["LEAF"] * (depth + 1),
        nodes_values=[0.0] * nodes,
        nodes_truenodeids=[*range(depth, 2 * depth), *[0] * (depth + 1)],
        nodes_falsenodeids=[*range(1, depth), 2 * depth, *[0] * (depth + 1)],
        target_treeids=[0] * len(leaves),
        target_nodeids=leaves,
        target_ids=[0] * len(leaves),
        target_weights=[1.0] * len(leaves),
    )


def skops_model(path: Path, **options: Any) -> Path:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    frame, labels = rows()
    skops.io.dump(LogisticRegression().fit(frame[["size"]], labels), path, **options)
    return path

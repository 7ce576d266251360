"""Packages that answer their example at once, and for one value never, or with all the memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.serving.spec import Column, ServingSpec, Tensor
from tests.scorer.packages import SOURCE, write_spec

EVIL = 666.0
_ENDLESS = 1 << 62


def graph_package(directory: Path, nodes: Sequence[Any], constants: Sequence[Any] = ()) -> Path:
    """A regressor over one tensor [rows, 1] whose nodes make `variable` of `x`."""
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(graph_model(nodes, constants).SerializeToString())
    spec = ServingSpec(
        format="onnx",
        file="model.onnx",
        task="regressor",
        tensor=Tensor(name="x", dtype="float64", shape=[1]),
        output_names={"prediction": "variable"},
        source_digest=SOURCE,
        example={"x": [[1.0]]},
    )
    return write_spec(directory, spec)


def graph_model(nodes: Sequence[Any], constants: Sequence[Any] = ()) -> Any:
    from onnx import TensorProto, helper

    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(
        list(nodes),
        "harmful",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def doubling(directory: Path) -> Path:
    """It adds x to itself, and does no harm."""
    from onnx import helper

    return graph_package(directory, [helper.make_node("Add", ["x", "x"], ["variable"])])


def endless(directory: Path) -> Path:
    """It loops (x == 666) * 2^62 times."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["state", "state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.DOUBLE, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.DOUBLE, None),
        ],
    )
    loop = helper.make_node("Loop", ["often", "", "x"], ["variable"], "turns", body=body)
    return graph_package(directory, [*_if_evil("often", [_ENDLESS]), loop], _constants())


def hungry(directory: Path) -> Path:
    """It fills (x == 666) * 2e8 places, and adds up none of them."""
    from onnx import helper

    nodes = [
        *_if_evil("size", [200_000_000]),
        helper.make_node("ConstantOfShape", ["size"], ["many"], "places", value=_zero()),
        helper.make_node("ReduceSum", ["many"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["x", "nothing"], ["variable"]),
    ]
    return graph_package(directory, nodes, _constants())


def _if_evil(name: str, times: Sequence[int]) -> list[Any]:
    """Nodes that make `name` of the largest x: `times` of the evil one, else 0."""
    from onnx import TensorProto, helper

    return [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "evil"], ["is_evil"]),
        helper.make_node("Cast", ["is_evil"], ["once"], to=TensorProto.INT64),
        helper.make_node("Constant", [], ["times"], value_ints=list(times)),
        helper.make_node("Mul", ["once", "times"], [name]),
    ]


def _constants() -> list[Any]:
    from onnx import numpy_helper

    return [numpy_helper.from_array(np.array(EVIL), "evil")]


def _zero() -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.zeros(1))


def backtracking(directory: Path, *words: str) -> Path:
    """A regressor over text, split by a pattern that tries 2^n ways with the interpreter's lock."""
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    rows = pd.DataFrame({"text": ["a", "aa", "aaa"]})
    splitting = CountVectorizer(token_pattern=r"(?:a+)+$", vocabulary=["a", "aa", *words])
    model = make_pipeline(ColumnTransformer([("text", splitting, "text")]), Ridge())
    model.fit(rows, [1.0, 2.0, 3.0])
    directory.mkdir(parents=True)
    skops.io.dump(model, directory / "model.skops")
    spec = ServingSpec(
        format="sklearn-skops",
        file="model.skops",
        task="regressor",
        columns=[Column(name="text", type="string")],
        trusted=skops.io.get_untrusted_types(file=directory / "model.skops"),
        source_digest=SOURCE,
        example={"text": ["a"]},
    )
    return write_spec(directory, spec)


def also_backtracking(directory: Path) -> Path:
    """Another one."""
    return backtracking(directory, "word")

"""A graph is bounded where its cost follows from shapes, and is told apart where it does not."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

from loopwright_common.model_files.graph import UnboundedGraphError, bounds_of
from tests.scorer.harmful_packages import graph_model

node = helper.make_node


def constant(name: str, *values: float, dtype: str = "int64") -> Any:
    return numpy_helper.from_array(np.array(values, dtype), name)


def why(*nodes: Any, constants: Sequence[Any] = ()) -> str:
    with pytest.raises(UnboundedGraphError) as refused:
        bounds_of(graph_model(nodes, constants))
    return str(refused.value)


WHOLE = node("Cast", ["x"], ["whole"], to=TensorProto.INT64)
FLAT = node("Reshape", ["whole", "flat"], ["sizes"])
BODY = helper.make_graph(
    [node("Identity", ["x"], ["variable"])],
    "body",
    [],
    [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, None)],
)
OF_DATA = [
    node("ConstantOfShape", ["sizes"], ["variable"], "sized"),
    node("Expand", ["x", "sizes"], ["variable"], "sized"),
    node("Tile", ["x", "sizes"], ["variable"], "sized"),
    node("Reshape", ["x", "sizes"], ["variable"], "sized"),
    node("Range", ["sizes", "sizes", "sizes"], ["variable"], "sized"),
    node("OneHot", ["whole", "sizes", "x"], ["variable"], "sized"),
    node("TopK", ["x", "sizes"], ["variable", "places"], "sized"),
    node("Pad", ["x", "sizes"], ["variable"], "sized"),
    node("Slice", ["x", "flat", "sizes"], ["variable"], "sized"),
    node("Resize", ["x", "", "", "sizes"], ["variable"], "sized"),
    node("Upsample", ["x", "x"], ["variable"], "sized"),
    node("Split", ["x", "sizes"], ["variable"], "sized"),
    node("Unsqueeze", ["x", "sizes"], ["variable"], "sized"),
    node("ReduceSum", ["x", "sizes"], ["variable"], "sized"),
    node("CumSum", ["x", "sizes"], ["variable"], "sized"),
    node("LSTM", ["x", "x", "x", "", "sizes"], ["variable"], "sized", hidden_size=1),
]


@pytest.mark.parametrize("sized", OF_DATA, ids=lambda each: each.op_type)
def test_a_size_that_is_taken_from_data_is_named_with_its_node(sized: Any) -> None:
    reason = why(WHOLE, FLAT, sized, constants=[constant("flat", -1)])

    assert f"node 'sized' ({sized.op_type}) takes a size from data" in reason


UNKNOWN = [
    node("If", ["x"], ["variable"], "odd", then_branch=BODY, else_branch=BODY),
    node("Loop", ["x", "", "x"], ["variable"], "odd", body=BODY),
    node("SequenceMap", ["x"], ["variable"], "odd", body=BODY),
    node("SequenceEmpty", [], ["variable"], "odd"),
    node("SplitToSequence", ["x"], ["variable"], "odd"),
    node("Optional", ["x"], ["variable"], "odd"),
    node("NonZero", ["x"], ["variable"], "odd"),
    node("Compress", ["x", "x"], ["variable"], "odd"),
    node("Unique", ["x"], ["variable"], "odd"),
    node("NonMaxSuppression", ["x", "x"], ["variable"], "odd"),
    node("StringConcat", ["x", "x"], ["variable"], "odd"),
    node("TfIdfVectorizer", ["x"], ["variable"], "odd", mode="TF"),
    node("Tokenizer", ["x"], ["variable"], "odd", domain="com.microsoft"),
    node("Add", ["x", "x"], ["variable"], "odd", domain="org.example"),
]


@pytest.mark.parametrize("odd", UNKNOWN, ids=lambda each: each.op_type)
def test_an_operator_that_is_not_known_to_be_bounded_is_named(odd: Any) -> None:
    assert "node 'odd'" in why(odd)


def test_sizes_of_shapes_and_constants_are_no_data() -> None:
    bounds = bounds_of(
        graph_model(
            [
                node("Shape", ["x"], ["shape"]),
                node("Mul", ["shape", "twice"], ["double"]),
                node("ConstantOfShape", ["double"], ["many"]),
                node("ReduceSum", ["many", "axis"], ["sum"], keepdims=1),
                node("Cast", ["sum"], ["wide"], to=TensorProto.DOUBLE),
                node("Slice", ["wide", "from", "to"], ["some"]),
                node("Add", ["some", "wide"], ["variable"]),
            ],
            [constant(*each) for each in (("twice", 1, 2), ("axis", 1), ("from", 0), ("to", 1))],
        )
    )

    assert bounds.constants == 5
    assert bounds.per_input < 30


def test_what_grows_faster_than_the_rows_is_refused() -> None:
    flipped = node("Transpose", ["x"], ["flipped"])

    assert "'square' grows faster" in why(
        flipped,
        node("MatMul", ["x", "flipped"], ["square"]),
        node("ReduceSum", ["square", "axis"], ["variable"]),
        constants=[constant("axis", 1)],
    )


def test_what_doubles_again_and_again_is_refused() -> None:
    names = ["x", *(f"x{turn}" for turn in range(40)), "variable"]
    doubling = [node("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)]

    assert "elements for one row" in why(*doubling)


def test_large_constants_that_a_few_bytes_describe_are_refused() -> None:
    wide = node("ConstantOfShape", ["size"], ["wide"])
    sum_ = node("ReduceSum", ["wide"], ["sum"], keepdims=0)

    reason = why(wide, sum_, constants=[constant("size", 100_000, 100_000)])

    assert "most of them in 'wide'" in reason
    dense = helper.make_sparse_tensor(
        constant("v", 1.0, dtype="double"), constant("i", 0), [1 << 40]
    )
    assert "sparse" in why(node("Constant", [], ["variable"], sparse_value=dense))


def test_texts_of_a_request_are_not_copied_often_and_constant_ones_are_short() -> None:
    def over_text(*nodes: Any, constants: Sequence[Any] = ()) -> Any:
        model = graph_model(nodes, constants)
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
        return model

    wide = node("Expand", ["x", "size"], ["wide"])
    few = node("Slice", ["wide", "from", "to", "axis"], ["variable"])
    ends = [constant(*each) for each in (("from", 0), ("to", 1), ("axis", 1))]
    bounds_of(over_text(wide, few, constants=[constant("size", 1, 8), *ends]))
    with pytest.raises(UnboundedGraphError, match="texts are copied to 10002 places"):
        bounds_of(over_text(wide, few, constants=[constant("size", 1, 10_000), *ends]))

    encoder = node(
        "LabelEncoder", ["whole"], ["variable"], domain="ai.onnx.ml",
        keys_int64s=[1], values_strings=["x" * 300],
    )  # fmt: skip
    assert "a text of 300 bytes" in why(WHOLE, encoder)


def test_functions_and_tensors_in_other_files_are_not_looked_through() -> None:
    model = graph_model([node("Twice", ["x"], ["variable"], domain="own")])
    own = [helper.make_opsetid("", 18)]
    model.functions.append(
        helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], own)
    )
    with pytest.raises(UnboundedGraphError, match="function of its own, 'Twice'"):
        bounds_of(model)

    outside = constant("far", 1.0, dtype="double")
    outside.data_location = TensorProto.EXTERNAL
    assert "'far' is kept in another file" in why(
        node("Add", ["x", "far"], ["variable"]), constants=[outside]
    )


def scanning(body: Sequence[Any]) -> list[Any]:
    """A Scan over the rows whose body makes `out` of `row`."""
    graph = helper.make_graph(
        list(body),
        "body",
        [helper.make_tensor_value_info("row", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("out", TensorProto.DOUBLE, None)],
    )
    return [node("Scan", ["x"], ["variable"], "rows", body=graph, num_scan_inputs=1)]


def test_a_scan_is_bounded_where_its_body_is() -> None:
    assert bounds_of(graph_model(scanning([node("Neg", ["row"], ["out"])]))).per_input < 10

    whole = node("Cast", ["row"], ["whole"], to=TensorProto.INT64)
    sized = node("ConstantOfShape", ["whole"], ["out"], "inside")
    assert "node 'inside' (ConstantOfShape)" in why(*scanning([whole, sized]))
    wide = node("Concat", ["row"] * 9_000, ["wide"], axis=0)
    wider = node("Concat", ["wide"] * 9_000, ["out"], axis=0)
    assert "elements for one row" in why(*scanning([wide, wider]))


def test_lists_of_sizes_that_double_again_and_again_are_not_followed() -> None:
    names = ["shape", *(f"s{turn}" for turn in range(40))]
    doubling = [node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]

    assert "too many values" in why(
        node("Shape", ["x"], ["shape"]), *doubling, node("Reshape", ["x", "s39"], ["variable"])
    )


def test_long_ways_through_trees_are_refused() -> None:
    deep, trees = 1_500, 100
    left = [[*range(1, deep + 1)], [*range(deep + 1, 2 * deep + 1)]]
    ids: dict[str, Any] = {
        "nodes_treeids": [tree for tree in range(trees) for _ in range(2 * deep + 1)]
    }
    inner = [*left[0], *[0] * (deep + 1)]
    leaves = [*left[1], *[0] * (deep + 1)]
    ids["nodes_nodeids"] = [*range(2 * deep + 1)] * trees
    ids["nodes_truenodeids"], ids["nodes_falsenodeids"] = inner * trees, leaves * trees
    ids["nodes_featureids"] = [0] * (2 * deep + 1) * trees
    modes = [*["BRANCH_LEQ"] * deep, *["LEAF"] * (deep + 1)] * trees
    forest = node(
        "TreeEnsembleRegressor",
        ["x"],
        ["variable"],
        "forest",
        domain="ai.onnx.ml",
        nodes_modes=modes,
        **ids,
    )

    assert "150000 steps through its trees" in why(forest)


def test_what_our_own_packaging_makes_is_bounded() -> None:
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, QuantileTransformer

    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    labels = (rows[:, 0] * 2).astype(int) % 3
    estimators = [
        linear_model.LogisticRegression(),
        linear_model.Ridge(),
        ensemble.RandomForestClassifier(5),
        ensemble.GradientBoostingClassifier(n_estimators=3),
        ensemble.HistGradientBoostingRegressor(max_iter=3),
        ensemble.AdaBoostRegressor(n_estimators=3),
        ensemble.IsolationForest(n_estimators=3),
        naive_bayes.GaussianNB(),
        neighbors.KNeighborsClassifier(),
        neural_network.MLPClassifier((5,), max_iter=5),
        svm.SVC(probability=True),
        svm.SVR(),
        GaussianProcessRegressor(),
        make_pipeline(QuantileTransformer(n_quantiles=9), PowerTransformer(), linear_model.Ridge()),
    ]
    opsets = {"": 18, "ai.onnx.ml": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator in estimators:
            fitted = estimator.fit(rows, labels)
            options = {id(fitted): {"zipmap": False}} if hasattr(fitted, "classes_") else {}
            model = to_onnx(fitted, rows[:1], options=options, target_opset=opsets)
            assert bounds_of(model).per_input < 1_000, estimator


def test_a_damaged_graph_is_bounded_or_not_and_nothing_else() -> None:
    random = Random(1)  # noqa: S311  (the same each time)
    sound = [
        graph_model(scanning([node("Neg", ["row"], ["out"])])),
        graph_model([node("Add", ["x", "one"], ["variable"])], [constant("one", 1)]),
        graph_model([node("Normalizer", ["x"], ["variable"], domain="ai.onnx.ml", norm="L1")]),
    ]
    read = 0
    for content in [model.SerializeToString() for model in sound] * 400:
        damaged = bytearray(content)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        with suppress(DecodeError, UnboundedGraphError):
            model = ModelProto.FromString(bytes(damaged))
            read += 1
            bounds_of(model)
    assert read > 100

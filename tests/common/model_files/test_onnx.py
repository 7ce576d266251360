"""Tree ensembles in ONNX, whose runtime walks them by recursion and ends its process for it."""

from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from tests.common.model_files.models import onnx_chain, onnx_trees

SOUND: dict[str, dict[str, Any]] = {
    "as converters write it": {},
    "numbered otherwise": {
        "nodes_nodeids": [7, 3, 2, 9, 4, 0, 1, 2],
        "nodes_truenodeids": [3, 2, 0, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [4, 9, 0, 0, 0, 2, 0, 0],
    },
}
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "child": ({"nodes_truenodeids": [1, 99, 0, 0, 0, 1, 0, 0]}, "tree 0: a child is outside"),
    "negative child": ({"nodes_truenodeids": [1, -7, 0, 0, 0, 1, 0, 0]}, "a child is outside"),
    "cycle": ({"nodes_truenodeids": [1, 0, 0, 0, 0, 1, 0, 0]}, "two parents"),
    "split": ({"nodes_featureids": [-9, 1, 0, 0, 0, 2, 0, 0]}, "a split is outside"),
    "apart": ({"nodes_treeids": [0, 0, 1, 0, 0, 1, 0, 1]}, "nodes of a tree are apart"),
    "twice": ({"nodes_nodeids": [0, 1, 2, 2, 4, 0, 1, 2]}, "a node comes twice"),
    "short": ({"nodes_modes": ["LEAF"]}, "not one of each for every node"),
}


@pytest.mark.parametrize("kind", SOUND)
def test_trees_pass(tmp_path: Path, kind: str) -> None:
    check_model_file(onnx_trees(tmp_path / "model.onnx", **SOUND[kind]), "onnx")


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_no_tree_is_refused(tmp_path: Path, what: str) -> None:
    attributes, says = DAMAGED[what]

    with pytest.raises(InvalidError, match=f"node 'TreeEnsembleRegressor': .*{says}"):
        check_model_file(onnx_trees(tmp_path / "model.onnx", **attributes), "onnx")


def test_a_tree_too_deep_for_the_runtime_is_refused(tmp_path: Path) -> None:
    check_model_file(onnx_chain(tmp_path / "model.onnx", 9_000), "onnx")

    with pytest.raises(InvalidError, match="deeper than 10000"):
        check_model_file(onnx_chain(tmp_path / "model.onnx", 100_000), "onnx")


def test_trees_within_a_loop_are_looked_at(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    inner = onnx.load(onnx_trees(tmp_path / "model.onnx", nodes_treeids=[0, 0, 1, 0, 0, 1, 0, 1]))
    loop = helper.make_node("Loop", [""], [], body=inner.graph)
    outer = helper.make_model(helper.make_graph([loop], "outer", [], []))
    (tmp_path / "model.onnx").write_bytes(outer.SerializeToString())

    with pytest.raises(InvalidError, match="apart"):
        check_model_file(tmp_path / "model.onnx", "onnx")


def test_trees_within_a_function_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    _move_into_a_function(onnx_trees(path))
    check_model_file(path, "onnx")

    _move_into_a_function(onnx_trees(path, nodes_treeids=[0, 0, 1, 0, 0, 1, 0, 1]))
    with pytest.raises(InvalidError, match="apart"):
        check_model_file(path, "onnx")
    _move_into_a_function(onnx_trees(path), given="nodes_truenodeids")
    with pytest.raises(InvalidError, match="nodes_truenodeids: whoever calls"):
        check_model_file(path, "onnx")


def test_trees_that_are_not_read_are_refused(tmp_path: Path) -> None:
    from onnx import helper

    trees = helper.make_node("TreeEnsemble", ["x"], ["y"], "forest", domain="ai.onnx.ml")
    made = helper.make_model(helper.make_graph([trees], "trees", [], []))
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())

    with pytest.raises(InvalidError, match=r"node 'forest': .*target_opset=\{'ai.onnx.ml': 3\}"):
        check_model_file(tmp_path / "model.onnx", "onnx")


def test_tensors_in_other_files_are_refused(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(onnx_trees(tmp_path / "model.onnx"))
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(InvalidError, match="'w' is kept in another file"):
        check_model_file(tmp_path / "model.onnx", "onnx")


def test_what_is_no_protocol_buffer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 40)

    with pytest.raises(InvalidError, match=r"model\.onnx is damaged, or no ONNX model"):
        check_model_file(tmp_path / "model.onnx", "onnx")


def _move_into_a_function(path: Path, given: str = "") -> None:
    """The graph's nodes; the attribute `given` is then one that the function's caller gives."""
    import onnx
    from onnx import helper

    model = onnx.load(path)
    body = list(model.graph.node)
    for attribute in body[0].attribute:
        if attribute.name == given:
            type_given = attribute.type
            attribute.Clear()
            attribute.name, attribute.type, attribute.ref_attr_name = given, type_given, given
    function = helper.make_function(
        "own", "trees", ["x"], ["y"], body, list(model.opset_import), [given] if given else []
    )
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("trees", ["x"], ["y"], domain="own"))
    model.functions.append(function)
    path.write_bytes(model.SerializeToString())

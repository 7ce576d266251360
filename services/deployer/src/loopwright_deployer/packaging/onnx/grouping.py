"""Gives a graph with an input per column one matrix for all columns of a type.

The runtime spends more on an input than most models spend on a row.
"""

from typing import Any

_SPLITS_EVENLY, _SAYS_INTO_HOW_MANY = 2, 18


def group_columns(onnx_model: Any) -> dict[str, list[str]]:
    """Replace inputs [n, 1] of one type by one input [n, k]; says the k columns of each."""
    from onnx import TensorProto

    graph = onnx_model.graph
    opset = next((one.version for one in onnx_model.opset_import if not one.domain), 0)
    if opset < _SPLITS_EVENLY:
        return {}
    matrices: dict[str, list[str]] = {}
    for kind, names in _by_type(graph).items():
        if len(names) > 1:
            matrix = f"columns/{TensorProto.DataType.Name(kind).lower()}"
            matrices[matrix] = names
            _replace(graph, matrix, kind, names, opset)
    return matrices


def _by_type(graph: Any) -> dict[int, list[str]]:
    constant = {one.name for one in graph.initializer}
    groups: dict[int, list[str]] = {}
    for one in graph.input:
        if one.name not in constant:
            groups.setdefault(one.type.tensor_type.elem_type, []).append(one.name)
    return groups


def _replace(graph: Any, matrix: str, kind: int, names: list[str], opset: int) -> None:
    from onnx import helper

    kept = [one for one in graph.input if one.name not in names]
    kept.append(helper.make_tensor_value_info(matrix, kind, [None, len(names)]))
    into: dict[str, Any] = {"num_outputs": len(names)} if opset >= _SAYS_INTO_HOW_MANY else {}
    nodes = [helper.make_node("Split", [matrix], names, axis=1, **into), *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.extend(kept)
    graph.node.extend(nodes)

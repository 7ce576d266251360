"""Gives a graph that wants one matrix an input per column in its place."""

from collections.abc import Sequence
from typing import Any

from loopwright_common.serving import Column, ColumnType

_ONNX_TYPES: dict[ColumnType, str] = {
    "double": "FLOAT",
    "float": "FLOAT",
    "long": "INT64",
    "integer": "INT64",
    "boolean": "BOOL",
}


def are_numbers(columns: Sequence[Column]) -> bool:
    return all(column.type in _ONNX_TYPES for column in columns)


def join_columns(graph: Any, columns: Sequence[Column]) -> None:
    """Replace the graph's one input [n, k] by k inputs [n, 1], cast and concatenated in order."""
    from onnx import TensorProto, helper

    matrix = graph.input[0]
    wanted = matrix.type.tensor_type.elem_type
    del graph.input[:]
    casts = []
    for column in columns:
        kind = getattr(TensorProto, _ONNX_TYPES[column.type])
        graph.input.append(helper.make_tensor_value_info(column.name, kind, [None, 1]))
        cast = f"{matrix.name}/{column.name}"
        casts.append(helper.make_node("Cast", [column.name], [cast], to=wanted))
    names = [cast.output[0] for cast in casts]
    concat = helper.make_node("Concat", names, [matrix.name], axis=1)
    former = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, concat, *former])

"""Texts in a graph: elements whose size is not told by a shape."""

from collections.abc import Iterator
from math import prod
from typing import Any

from loopwright_common.model_files.graph.shapes import Types, feeds_of, shape_of

_LONGEST = 256
"""Bytes of a text that the graph itself has, such as a class."""
_COPIES = 64
"""How often all values together may have a text of a request, which may be as long as that is."""
_TEXT = 8  # TensorProto.STRING


def check_texts(graph: Any, types: Types) -> None:
    """ValueError where a request's texts would be copied often, or a constant one is long."""
    longest = max(map(len, _constants(graph)), default=0)
    if longest > _LONGEST:
        raise ValueError(f"a text of {longest} bytes in it, {_LONGEST} are allowed")
    given = {name for name in feeds_of(graph) if types[name].tensor_type.elem_type == _TEXT}
    copied = set(given)
    for node in graph.node:
        if _passes_on(node) and copied.intersection(node.input):
            copied.update(node.output)
    count = _count(copied, types)
    if count > _COPIES * _count(given, types):
        raise ValueError(f"a row's texts are copied to {count} places")


def _passes_on(node: Any) -> bool:
    """Classic models answer texts of their own, but for the one that picks columns."""
    return bool(node.domain != "ai.onnx.ml" or node.op_type == "ArrayFeatureExtractor")


def _count(names: set[str], types: Types) -> int:
    texts = (types[name] for name in names if name in types)
    return sum(prod(shape_of(one)) for one in texts if one.tensor_type.elem_type == _TEXT)


def _constants(graph: Any) -> Iterator[bytes]:
    for tensor in graph.initializer:
        yield from tensor.string_data
    for node in graph.node:
        for attribute in node.attribute:
            yield from (*attribute.strings, *attribute.t.string_data)

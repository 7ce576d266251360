"""Tensors that an ONNX file keeps in other files: where these may lie, and taking them in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError


def load_whole(file: Path) -> Any:
    """The model in a file, with what it keeps in files beside it; raises what protobuf raises.

    InvalidError where it names a file outside its directory, or one that is no plain file.
    """
    import onnx

    model = onnx.load_model(file, load_external_data=False)
    directory = file.parent.resolve()
    for tensor in external_tensors(model):
        _require_beside(directory, tensor)
    onnx.load_external_data_for_model(model, str(directory))
    return model


def external_tensors(model: Any) -> Iterator[Any]:
    """Every tensor whose values are in another file, however deep in the graph."""
    return (one for one in _tensors(model.graph, model.functions) if _is_external(one))


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == type(tensor).EXTERNAL or tensor.external_data)


def _tensors(graph: Any, functions: Any = ()) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in (*graph.node, *(node for function in functions for node in function.node)):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for below in (attribute.g, *attribute.graphs):
                yield from _tensors(below)


def _require_beside(directory: Path, tensor: Any) -> None:
    named = next((e.value for e in tensor.external_data if e.key == "location"), "")
    path = directory / named
    inside = path.is_file() and path.resolve() == path and path.is_relative_to(directory)
    if not named or not inside:
        raise InvalidError(
            f"ONNX tensor {tensor.name!r} is kept in {named!r}, which is no file of the package;"
            " save the model with its tensors inside, or in a file beside it"
        )

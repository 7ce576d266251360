"""The shape of every value of a graph, for given sizes of its inputs."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from loopwright_common.model_files.graph.classic_shapes import Shape, output_shapes

Types = dict[str, Any]
"""TypeProto by the name of a value; only those whose shape is known whole."""


_MOST_PARTS = 256
_LONGEST_LIST = 1 << 20
Axis = tuple[str, int]
"""The name of an input, and which of its sizes."""


def feeds_of(graph: Any) -> list[str]:
    """The inputs that a caller gives; what has a constant by its name may be left out, and is."""
    constant = {one.name for one in graph.initializer}
    return [one.name for one in graph.input if one.name not in constant]


def open_axes(graph: Any) -> list[Axis]:
    """The sizes that the inputs leave open."""
    dims = {one.name: one.type.tensor_type.shape.dim for one in graph.input}
    return [
        (name, axis)
        for name in feeds_of(graph)
        for axis, dim in enumerate(dims[name])
        if not dim.dim_value
    ]


def graph_types(model: Any, sizes: Mapping[Axis, int]) -> Types:
    """The types of all values, where open sizes are these, and 1 by default.

    A value whose shape does not follow from those of the inputs is not among them. Raises what
    `onnx` raises of a graph that makes no sense.
    """
    probe = _copy_of(model)
    dims = {one.name: one.type.tensor_type.shape.dim for one in probe.graph.input}
    for name, axis in open_axes(model.graph):
        dims[name][axis].dim_value = sizes.get((name, axis), 1)
    return _infer(probe)


def body_of_scan(model: Any, node: Any, types: Types) -> Any:
    """The body as a model: its inputs are its states and one slice of each that is scanned.

    What it takes from around it comes in as further inputs.
    """
    attributes = {one.name: one for one in node.attribute}
    scanned = attributes["num_scan_inputs"].i
    axes = [0] * scanned
    if "scan_input_axes" in attributes:
        axes = list(attributes["scan_input_axes"].ints)
    body = type(model)(ir_version=model.ir_version, opset_import=model.opset_import)
    body.graph.CopyFrom(attributes["body"].g)
    states = len(node.input) - scanned
    for position, outer in enumerate(node.input):
        inner = body.graph.input[position].type
        inner.CopyFrom(types[outer])
        if position >= states:
            del inner.tensor_type.shape.dim[axes[position - states]]
    for name in sorted(_taken_from_around(body.graph) & types.keys()):
        body.graph.input.add(name=name).type.CopyFrom(types[name])
    return body


def shape_of(type_: Any) -> Shape:
    """The sizes of a tensor; 0 for one that is open."""
    return tuple(dim.dim_value for dim in type_.tensor_type.shape.dim)


def _copy_of(model: Any) -> Any:
    """What declares a shape is not believed, but for inputs and constants."""
    probe = type(model)()
    probe.CopyFrom(model)
    del probe.graph.value_info[:]
    for output in probe.graph.output:
        output.type.Clear()
    return probe


def _infer(probe: Any) -> Types:
    """Infer, say what is not inferred, and infer on from there; follow values only where needed."""
    follows = False
    while True:
        types = _infer_once(probe, follows)
        missing = list(_missing(probe.graph, types))
        for name, type_ in missing:
            probe.graph.value_info.add(name=name).type.CopyFrom(type_)
        if missing:
            continue
        if follows or all(name in types for node in probe.graph.node for name in node.output):
            return types
        _require_few_values(probe.graph, types)
        follows = True


def _infer_once(probe: Any, follows: bool) -> Types:
    """With `follows`, `onnx` computes the values that may be sizes, one object for each."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(probe, data_prop=follows).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {one.name: one.type for one in values if _is_known(one.type)}
    return types | {one.name: _type(one.data_type, one.dims) for one in probe.graph.initializer}


def _require_few_values(graph: Any, types: Types) -> None:
    """ValueError where a list that may be sizes is long, or would be put together of many."""
    parts: dict[str, int] = {}
    for node in graph.node:
        before = [parts.get(name, 1) for name in node.input]
        count = sum(before) if node.op_type == "Concat" else max(before, default=1)
        parts.update(dict.fromkeys(node.output, count))
    longest = max((prod(shape_of(one)) for one in types.values() if _is_list(one)), default=0)
    if max(parts.values(), default=0) > _MOST_PARTS or longest > _LONGEST_LIST:
        raise ValueError("they are put together of too many values")


def _missing(graph: Any, types: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Types of outputs that are not known although those of the inputs are."""
    declared = {one.name for one in graph.value_info}
    for node in graph.node:
        if node.domain != "ai.onnx.ml" or not all(name in types for name in node.input):
            continue
        shapes = output_shapes(node, [shape_of(types[name]) for name in node.input])
        for name, shape in zip(node.output, shapes, strict=False):
            if name and name not in types and name not in declared:
                yield name, _type(_element(node, types, shape), shape)


def _element(node: Any, types: Mapping[str, Any], shape: Shape) -> int:
    """Labels have a type of their own; all else is of numbers, or of what comes in."""
    if node.op_type == "ArrayFeatureExtractor":
        return int(types[node.input[0]].tensor_type.elem_type)
    if node.op_type.endswith("Classifier") and len(shape) == 1:
        texts = any(one.name == "classlabels_strings" and one.strings for one in node.attribute)
        return 8 if texts else 7
    return 1


def _type(element: int, shape: Shape) -> Any:
    from onnx import helper

    return helper.make_tensor_type_proto(element, list(shape))


def _is_known(type_: Any) -> bool:
    tensor = type_.tensor_type
    return bool(
        tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _is_list(type_: Any) -> bool:
    return len(type_.tensor_type.shape.dim) < 2


def _taken_from_around(body: Any) -> set[str]:
    own = {one.name for one in (*body.input, *body.initializer)}
    own |= {name for node in body.node for name in node.output}
    return {name for node in body.node for name in node.input} - own

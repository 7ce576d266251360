"""Whether what a graph costs follows from the shapes of its inputs, and how much it holds then.

Only such a graph is computed where others wait for it: measured once, it costs as much for every
value. What cannot be shown of a graph is taken not to hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from loopwright_common.errors import without_paths
from loopwright_common.model_files.graph.external_data import external_tensors
from loopwright_common.model_files.graph.operators import BOUNDED, OF_SHAPES
from loopwright_common.model_files.graph.shapes import (
    Axis,
    Types,
    body_of_scan,
    feeds_of,
    graph_types,
    open_axes,
    shape_of,
)
from loopwright_common.model_files.graph.texts import check_texts
from loopwright_common.model_files.onnx import longest_way_through

_LARGEST = 1 << 26
"""Elements of all values of a graph for one row, and of those that do not grow with rows."""
_LONGEST_WAY = 1 << 17
"""Steps through all trees together, which take some milliseconds."""
_TEXT, _TEXT_WEIGHT = 8, 64
"""TensorProto.STRING, and the elements that one counts for."""
_NODES = 20_000
_DEEPEST = 3
"""Bodies within bodies."""
_MANY = 1 << 13
"""Rows at which a square stands out, whatever constant part is allowed: 2 * _MANY**2 > _LARGEST."""
_OPEN_AXES = 3
_STANDARD = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}


class UnboundedGraphError(Exception):
    """The cost of the graph may depend on values, or cannot be told; says at which node."""


@dataclass(frozen=True, slots=True)
class GraphBounds:
    """What a graph holds at most while it computes, in elements of all its values together."""

    constants: int
    per_input: float
    """For each element of its inputs, beside the constants."""


def bounds_of(model: Any) -> GraphBounds:
    """UnboundedGraphError where the graph may cost more for one value than for another."""
    try:
        return _bounds_of(model)
    except (LookupError, ValueError, TypeError) as error:
        raise UnboundedGraphError(f"the graph makes no sense: {error!r:.200}") from None


def _bounds_of(model: Any) -> GraphBounds:
    if model.functions:
        raise UnboundedGraphError(f"it has a function of its own, {model.functions[0].name!r}")
    if outside := next(external_tensors(model), None):
        raise UnboundedGraphError(f"tensor {outside.name!r} is kept in another file")
    _check_nodes(model.graph, {one.name for one in model.graph.input}, 0)
    least = _elements(model, {})
    _require_few(least)
    check_texts(model.graph, graph_types(model, {}))
    for axes in _independent_axes(model.graph):
        _require_linear(*(_elements(model, dict.fromkeys(axes, n)) for n in (_MANY, 2 * _MANY)))
    constants = sum(least[one.name] for one in model.graph.initializer)
    given = sum(least[name] for name in feeds_of(model.graph))
    return GraphBounds(constants, (sum(least.values()) - constants) / max(given, 1))


def _check_nodes(graph: Any, data: set[str], depth: int) -> None:
    """`data` are the names of values that come from requests, and not from shapes or constants."""
    if graph.sparse_initializer:
        raise UnboundedGraphError("it has sparse constants")
    if len(graph.node) > _NODES or depth > _DEEPEST:
        raise UnboundedGraphError(f"it has more than {_NODES} nodes, or bodies within bodies")
    tainted = set(data)
    for node in graph.node:
        _check_node(node, tainted, depth)
        if node.op_type not in OF_SHAPES and tainted.intersection(node.input):
            tainted.update(node.output)


def _check_node(node: Any, data: set[str], depth: int) -> None:
    kind = (_STANDARD.get(node.domain, node.domain), node.op_type)
    if kind not in BOUNDED:
        raise UnboundedGraphError(f"{_named(node)} may cost more for one value than for another")
    for position in BOUNDED[kind]:
        if position < len(node.input) and node.input[position] in data:
            raise UnboundedGraphError(
                f"{_named(node)} takes a size from data: {node.input[position]!r}"
            )
    _check_trees(node)
    for attribute in node.attribute:
        if attribute.HasField("sparse_tensor"):
            raise UnboundedGraphError(f"{_named(node)} has a sparse constant")
        for body in _bodies(attribute):
            _check_nodes(body, data | {one.name for one in body.input}, depth + 1)


def _check_trees(node: Any) -> None:
    try:
        steps = longest_way_through(node)
    except ValueError as error:
        raise UnboundedGraphError(str(error)) from None
    if steps > _LONGEST_WAY:
        raise UnboundedGraphError(f"{_named(node)}: a row may take {steps} steps through its trees")


def _elements(model: Any, sizes: Mapping[Axis, int]) -> Mapping[str, int]:
    """How many each value has, where the open sizes are these, and 1 by default."""
    try:
        return dict(_counted(model, graph_types(model, sizes), ""))
    except UnboundedGraphError:
        raise
    except Exception as error:  # noqa: BLE001  (onnx raises various kinds)
        raise UnboundedGraphError(
            f"its shapes make no sense: {without_paths(error)[:200]}"
        ) from None


def _counted(model: Any, types: Types, within: str) -> Iterator[tuple[str, int]]:
    """Also of the bodies in it, whose values are there once at a time."""
    for node in model.graph.node:
        if unknown := next((name for name in node.output if name and name not in types), None):
            raise UnboundedGraphError(f"{_named(node)}: the size of {unknown!r} cannot be told")
        if node.op_type == "Scan":
            body = body_of_scan(model, node, types)
            yield from _counted(body, graph_types(body, {}), f"{within}{node.output[0]}/")
    for name, type_ in types.items():
        is_text = type_.tensor_type.elem_type == _TEXT
        if is_text and within:
            raise UnboundedGraphError(f"value {name!r} is a text within a body")
        weight = _TEXT_WEIGHT if is_text else 1
        yield f"{within}{name}", weight * prod(shape_of(type_))


def _independent_axes(graph: Any) -> Iterator[list[Axis]]:
    """All first axes together, since they are the rows, and each of the others by itself."""
    axes = open_axes(graph)
    rows = [each for each in axes if each[1] == 0]
    others = [each for each in axes if each[1] != 0]
    if (others and len(feeds_of(graph)) > 1) or len(others) > _OPEN_AXES:
        raise UnboundedGraphError(f"input {others[0][0]!r} leaves more open than its rows")
    if rows:
        yield rows
    yield from ([each] for each in others)


def _require_linear(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    for name, count in after.items():
        if count > 2 * before[name]:
            raise UnboundedGraphError(f"value {name!r} grows faster than the inputs")


def _require_few(elements: Mapping[str, int]) -> None:
    if min(elements.values()) < 0:  # more than fits 64 bits
        raise UnboundedGraphError("it holds more elements than can be counted")
    if (count := sum(elements.values())) > _LARGEST:
        largest = max(elements, key=lambda name: elements[name])
        raise UnboundedGraphError(
            f"it holds {count} elements for one row, {_LARGEST} are allowed, most of them in"
            f" {largest!r}"
        )


def _bodies(attribute: Any) -> Sequence[Any]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _named(node: Any) -> str:
    domain = f"{node.domain}." if node.domain else ""
    return f"node {node.name or next(iter(node.output), '')!r} ({domain}{node.op_type})"

"""ONNX: the trees of tree ensembles, which the runtime walks by recursion, and all in one file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.model_files.forest import LEAF, Forest, Indices, check_forest, longest_way

_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_UNCHECKED_TREES = "TreeEnsemble"
"""Those of opset 5 are walked by recursion, too, and no converter that we know writes them."""
_PER_NODE = (
    "nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids",
    "nodes_featureids", "nodes_modes",
)  # fmt: skip
_MOST_INPUTS = 1 << 31
"""How many there are is known only where it is computed, and held against the trees there."""
_MOST_NUMBERS = 1 << 31
_NOWHERE = -2


def check_onnx(path: Path) -> None:
    """ValueError or LookupError says which node does not hold together."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError:
        raise ValueError("it is no protocol buffer of a model") from None
    for part in (model.graph, *model.functions):
        for graph in _graphs(part):
            _check_graph(graph)


def _graphs(outer: Any) -> Iterator[Any]:
    """The graph or function and the graphs within its nodes, as loops and conditions have them."""
    left = [outer]
    while left:
        graph = left.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                left.extend(attribute.graphs)
                if attribute.HasField("g"):
                    left.append(attribute.g)


def _check_graph(graph: Any) -> None:
    for tensor in getattr(graph, "initializer", ()):  # a function has none
        if tensor.external_data:
            raise ValueError(f"initializer {tensor.name!r:.60} is kept in another file")
    for node in graph.node:
        if node.op_type == _UNCHECKED_TREES:
            raise ValueError(
                f"node {node.name or node.op_type!r:.60}: trees of ai.onnx.ml 5 are not read;"
                " convert the model with target_opset={'ai.onnx.ml': 3}"
            )
        if node.op_type in _TREES:
            _check_trees(node)


def longest_way_through(node: Any) -> int:
    """Steps that a row takes at most through the trees of a node, 0 where it has none.

    ValueError says which node does not hold together.
    """
    return longest_way(_check_trees(node)) if node.op_type in _TREES else 0


def _check_trees(node: Any) -> Forest:
    fields = {attribute.name: attribute for attribute in node.attribute}
    try:
        for name in _PER_NODE:
            if fields[name].ref_attr_name:
                raise ValueError(f"{name}: whoever calls the function gives it")
        forest = _forest(fields)
        check_forest(forest, _MOST_INPUTS)
    except (ValueError, LookupError) as error:
        raise ValueError(f"node {node.name or node.op_type!r:.60}: {error}") from None
    return forest


def _forest(fields: Mapping[str, Any]) -> Forest:
    """Nodes are named by tree and number in any order; here they are counted within a tree."""
    tree, number, left, right, feature = (
        np.array(fields[name].ints, np.int64) for name in _PER_NODE[:-1]
    )
    modes = np.array(list(fields["nodes_modes"].strings))
    if {len(modes)} != {len(each) for each in (tree, number, left, right, feature)}:
        raise ValueError(f"{', '.join(_PER_NODE)}: not one of each for every node")
    starts = np.flatnonzero(np.diff(tree, prepend=tree[:1] - 1))
    if len(np.unique(tree)) != len(starts):
        raise ValueError("nodes_treeids: the nodes of a tree are apart")
    sizes = np.diff(starts, append=len(tree))
    places = _Places(np.repeat(starts, sizes), number)
    inner = modes != b"LEAF"
    return Forest(sizes, places.of(left, inner), places.of(right, inner), feature)


class _Places:
    """From the names of nodes to their places within their trees."""

    def __init__(self, first: Indices, number: Indices) -> None:
        """`first` node of its tree, and `number` in it, of each node."""
        if ((number < 0) | (number >= _MOST_NUMBERS)).any():
            raise ValueError("nodes_nodeids: below zero, or too large")
        self._first = first
        names = first * _MOST_NUMBERS + number
        self._order = np.argsort(names)
        self._sorted = names[self._order]
        if (np.diff(self._sorted) == 0).any():
            raise ValueError("nodes_nodeids: a node comes twice")

    def of(self, child: Indices, inner: np.ndarray) -> Indices:
        """A child's place; `_NOWHERE` where there is none of this name, `LEAF` for leaves."""
        named = self._first * _MOST_NUMBERS + child
        found = np.searchsorted(self._sorted, named).clip(max=len(named) - 1)
        known = (self._sorted[found] == named) & (child >= 0) & (child < _MOST_NUMBERS)
        position = np.where(known, self._order[found] - self._first, _NOWHERE)
        return np.where(inner, position, LEAF)

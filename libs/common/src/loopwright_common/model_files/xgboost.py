"""XGBoost's JSON and UBJSON: all that its reader or its trees take for an index or a size.

The schema is in https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.model_files import ubjson
from loopwright_common.model_files.forest import LEAF, Forest, Indices, check_forest, integers

_PER_NODE = (
    "default_left", "left_children", "loss_changes", "parents", "right_children",
    "split_conditions", "split_indices", "sum_hessian",
)  # fmt: skip
_NO_PARENT = (-1, 2**31 - 1)
_CATEGORICAL = 1
_MOST_BITS = 1 << 29
"""What the sets of categories of one tree may take when it is read: 64 MiB."""


def check_xgboost(path: Path) -> None:
    """ValueError, LookupError or TypeError says what of the model does not hold together."""
    content = path.read_bytes()
    # By the suffix, as XGBoost's own reader does.
    if path.suffix == ".json":
        document = json.loads(content, object_pairs_hook=_unique)
    else:
        document = ubjson.loads(content)
    learner = document["learner"]
    param = learner["learner_model_param"]
    width = _count(param["num_feature"])
    groups = max(_count(param["num_class"]), _count(param.get("num_target", "1")), 1)
    for name in ("feature_names", "feature_types"):
        _require(len(learner.get(name, ())) in (0, width), f"{name}: not one for each input")
    booster = learner["gradient_booster"]
    if booster["name"] == "dart":
        booster = booster["gbtree"]
    if booster["name"] == "gblinear":
        weights = len(booster["model"]["weights"])
        _require(weights == (width + 1) * groups, f"weights: {weights} for {width} inputs")
    else:
        _check_model(booster["model"], width, groups)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    _require(len(members) == len(pairs), "a key comes twice")
    return members


def _check_model(model: Mapping[str, Any], width: int, groups: int) -> None:
    trees = model["trees"]
    param = model["gbtree_model_param"]
    _require(_count(param["num_trees"]) == len(trees), f"num_trees: there are {len(trees)} trees")
    _require(_count(param.get("num_parallel_tree", "1")) >= 1, "num_parallel_tree: less than one")
    of_group = integers(model["tree_info"])
    _require(len(of_group) == len(trees), f"tree_info: {len(of_group)} for {len(trees)} trees")
    _require(_within(of_group, groups), f"tree_info: an output outside of the {groups}")
    ends = integers(model.get("iteration_indptr", [0, len(trees)]))
    _require(_is_partition(ends, len(trees)), "iteration_indptr: no partition of the trees")
    for number, tree in enumerate(trees):
        try:
            _require(tree["id"] == number, f"id: {tree['id']}")
            _check_tree(tree, groups)
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"tree {number}: {error!s:.200}") from None
    if trees:
        check_forest(_forest(trees), width)
    if "cats" in model:
        _check_categories(model["cats"], width)


def _check_tree(tree: Mapping[str, Any], groups: int) -> None:
    param = tree["tree_param"]
    nodes = _count(param["num_nodes"])
    _require(nodes >= 1, "num_nodes: less than one")
    for name in _PER_NODE:
        _require(len(tree[name]) == nodes, f"{name}: {len(tree[name])} for {nodes} nodes")
    parents = integers(tree["parents"])
    _require(parents[0] in _NO_PARENT, "parents: the root has one")
    _require(_within(parents[1:], nodes), "parents: one outside of the tree")
    outputs = _count(param.get("size_leaf_vector", "0"))
    _require(outputs in (0, 1, groups), f"size_leaf_vector: {outputs} for {groups} outputs")
    if outputs > 1:
        _check_vector_leaves(tree, outputs)
    else:
        _require(len(tree["base_weights"]) == nodes, "base_weights: not one for each node")
    if "split_type" in tree:
        _check_category_splits(tree, nodes)


def _check_vector_leaves(tree: Mapping[str, Any], outputs: int) -> None:
    """A leaf's right child is the row of its outputs."""
    nodes = len(tree["left_children"])
    _require(len(tree["base_weights"]) == nodes * outputs, "base_weights: not one for each output")
    rows, rest = divmod(len(tree["leaf_weights"]), outputs)
    _require(not rest, "leaf_weights: not one for each output")
    leaves = integers(tree["right_children"])[integers(tree["left_children"]) == LEAF]
    _require(_within(leaves, rows), f"right_children: a leaf outside of {rows}")


def _check_category_splits(tree: Mapping[str, Any], nodes: int) -> None:
    kinds, categories = integers(tree["split_type"]), integers(tree["categories"])
    places, starts = integers(tree["categories_nodes"]), integers(tree["categories_segments"])
    sizes = integers(tree["categories_sizes"])
    _require(len(kinds) in (0, nodes), "split_type: not one for each node")
    _require(_within(kinds, 2), "split_type: neither number nor category")
    same = np.array_equal(places, np.flatnonzero(kinds == _CATEGORICAL))
    _require(same, "categories_nodes: not the nodes that split by category")
    _require(len(places) == len(starts) == len(sizes), "categories_sizes: not one for each node")
    if not len(places):
        return
    ends = np.cumsum(sizes)
    _require(bool((sizes > 0).all()), "categories_sizes: a node without")
    _require(np.array_equal(starts, ends - sizes), "categories_segments: not one after the other")
    _require(ends[-1] == len(categories), "categories: not as many as categories_sizes say")
    _require(bool((categories >= 0).all()), "categories: one below zero")
    bits = int(np.maximum.reduceat(categories, starts).sum())
    _require(bits <= _MOST_BITS, "categories: larger than any encoding has")


def _forest(trees: Sequence[Mapping[str, Any]]) -> Forest:
    left = _all(trees, "left_children")
    return Forest(
        sizes=np.array([len(tree["left_children"]) for tree in trees]),
        left=left,
        right=np.where(left == LEAF, LEAF, _all(trees, "right_children")),
        feature=_all(trees, "split_indices"),
    )


def _all(trees: Sequence[Mapping[str, Any]], name: str) -> Indices:
    return np.concatenate([integers(tree[name]) for tree in trees])


def _check_categories(cats: Mapping[str, Any], width: int) -> None:
    """The names of categories, by column: text in one string cut at offsets, or numbers."""
    columns = cats["enc"]
    segments, order = integers(cats["feature_segments"]), integers(cats["sorted_idx"])
    _require(len(columns) in (0, width), f"cats: {len(columns)} columns for {width} inputs")
    counts = [_categories_of(column) for column in columns]
    _require(not counts or np.array_equal(segments, [0, *np.cumsum(counts)]), "feature_segments")
    _require(len(order) in (0, sum(counts)), "sorted_idx: not one for each category")
    for column, count in enumerate(counts if len(order) else ()):
        part = np.sort(order[segments[column] : segments[column] + count])
        _require(np.array_equal(part, np.arange(count)), "sorted_idx: no order of the categories")


def _categories_of(column: Mapping[str, Any]) -> int:
    if "offsets" not in column:
        return len(integers(column["values"]))
    offsets = integers(column["offsets"])
    text = len(column["values"])
    _require(not len(offsets) or _is_partition(offsets, text), "cats: offsets cut no text")
    return max(len(offsets) - 1, 0)


def _count(text: str) -> int:
    """Parameters are kept as text, and `int` takes more for a number than XGBoost does."""
    _require(text.isascii() and text.isdecimal(), f"{text!r:.40} is no count")
    return int(text)


def _is_partition(ends: Indices, count: int) -> bool:
    bounded = len(ends) > 0 and ends[0] == 0 and ends[-1] == count
    return bool(bounded and (np.diff(ends) >= 0).all())


def _within(values: Indices, end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)

"""What holds for the nodes of decision trees, in whatever format they are written."""

from dataclasses import dataclass
from typing import Any

import numpy as np

LEAF = -1
_DEEPEST = 10_000
"""Native code walks some trees by recursion, and no training makes deeper ones."""

Indices = np.ndarray
"""Whole numbers, one per node unless it is said otherwise."""


def integers(values: Any) -> Indices:
    """A document's list or array of whole numbers; ValueError for anything else."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise ValueError("no list of whole numbers")
    return array.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees one after the other in arrays; the first node of each is its root.

    `left` and `right` count within the tree, and are both `LEAF` for a leaf.
    """

    sizes: Indices
    """Nodes of each tree."""
    left: Indices
    right: Indices
    feature: Indices
    """Which input an inner node splits on; of a leaf anything."""


def check_forest(forest: Forest, width: int) -> None:
    """ValueError names the tree unless each is one, and splits on the first `width` inputs."""
    _check_lengths(forest)
    starts = np.cumsum(forest.sizes) - forest.sizes
    tree = np.repeat(np.arange(len(forest.sizes)), forest.sizes)
    inner = forest.left != LEAF
    _refuse(tree, inner != (forest.right != LEAF), "a node has one child", forest.right)
    size = forest.sizes[tree]
    for child in (forest.left, forest.right):
        outside = inner & ((child < 0) | (child >= size))
        _refuse(tree, outside, "a child is outside of it", child)
    outside = inner & ((forest.feature < 0) | (forest.feature >= width))
    _refuse(tree, outside, f"a split is outside of the {width} inputs", forest.feature)
    children = np.stack([forest.left, forest.right], axis=1) + starts[tree][:, None]
    _check_acyclic(tree, starts, children, inner)


def longest_way(forest: Forest) -> int:
    """Steps that a row takes at most through all trees together, of a forest that was checked."""
    starts = np.cumsum(forest.sizes) - forest.sizes
    tree = np.repeat(np.arange(len(forest.sizes)), forest.sizes)
    steps, level = 0, starts[forest.left[starts] != LEAF]
    while len(level):
        steps += len(np.unique(tree[level]))
        first = starts[tree[level]]
        level = np.concatenate([first + forest.left[level], first + forest.right[level]])
        level = level[forest.left[level] != LEAF]
    return steps


def _check_lengths(forest: Forest) -> None:
    if (forest.sizes < 1).any():
        raise ValueError(f"tree {int(np.argmax(forest.sizes < 1))}: it has no node")
    lengths = {len(forest.left), len(forest.right), len(forest.feature), int(forest.sizes.sum())}
    if len(lengths) != 1:
        raise ValueError(f"the trees' arrays have {sorted(lengths)} nodes")


def _check_acyclic(tree: Indices, starts: Indices, children: Indices, inner: Indices) -> None:
    """From the roots down, level by level, every inner node is met, and none twice."""
    parents = np.bincount(children[inner].ravel(), minlength=len(tree))
    parents[starts] += 1  # nobody's child
    _refuse(tree, parents > 1, "a node has two parents, or the root has one", parents)
    met, level = 0, starts[inner[starts]]
    for _ in range(_DEEPEST):
        if not len(level):
            break
        met += len(level)
        level = children[level].ravel()
        level = level[inner[level]]
    if len(level):
        raise ValueError(f"tree {tree[level[0]]}: it is deeper than {_DEEPEST} levels")
    if met != int(inner.sum()):
        _refuse(tree, inner & (parents == 0), "a node is nobody's child", parents)
        raise ValueError("some nodes of the trees lead in a circle")


def _refuse(tree: Indices, wrong: np.ndarray, what: str, values: Indices) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"tree {tree[at]}: {what} ({values[at]})")

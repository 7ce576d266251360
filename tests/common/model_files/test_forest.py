"""Trees as their formats have them: any tree passes, and no other graph does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.model_files.forest import LEAF, Forest, check_forest

WIDTH = 3


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Nodes as left, right and feature: a leaf that is split again and again, in any order."""
    left, right, feature = [LEAF], [LEAF], [0]
    for _ in range(draw(st.integers(0, 8))):
        leaf = draw(st.sampled_from([i for i, child in enumerate(left) if child == LEAF]))
        left[leaf], right[leaf] = len(left), len(left) + 1
        feature[leaf] = draw(st.integers(0, WIDTH - 1))
        left, right, feature = [*left, LEAF, LEAF], [*right, LEAF, LEAF], [*feature, 0, 0]
    order = [0, *draw(st.permutations(range(1, len(left))))]
    place = {old: new for new, old in enumerate(order)} | {LEAF: LEAF}
    return [(place[left[old]], place[right[old]], feature[old]) for old in order]


def forest(*made: list[tuple[int, int, int]]) -> Forest:
    left, right, feature = np.array([node for tree in made for node in tree]).T
    return Forest(np.array([len(tree) for tree in made]), left, right, feature)


@given(st.lists(trees(), min_size=1, max_size=4))
def test_trees_pass_wherever_their_nodes_stand(made: list[Any]) -> None:
    check_forest(forest(*made), WIDTH)


@given(st.lists(trees(), min_size=1, max_size=3), st.data())
def test_a_child_that_is_changed_makes_no_tree(made: list[Any], data: st.DataObject) -> None:
    damaged = forest(*made)
    inner = np.flatnonzero(damaged.left != LEAF).tolist()
    if not inner:
        return
    at = data.draw(st.sampled_from(inner))
    side = data.draw(st.sampled_from([damaged.left, damaged.right]))
    was = int(side[at])
    side[at] = data.draw(st.integers(-3, 40).filter(lambda value: value != was))

    with pytest.raises(ValueError, match=r"tree \d|trees"):
        check_forest(damaged, WIDTH)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([(1, 2, 0), (1, 2, 0), (LEAF, LEAF, 0)], "two parents"),
        ([(LEAF, LEAF, 0), (2, 3, 0), (1, 4, 0), *[(LEAF, LEAF, 0)] * 2], "circle"),
        ([(0, 1, 0), (LEAF, LEAF, 0)], "the root has one"),
        ([(LEAF, LEAF, 0), (2, 3, 0), *[(LEAF, LEAF, 0)] * 2], "nobody's child"),
        ([(1, 2, WIDTH), *[(LEAF, LEAF, 0)] * 2], "outside of the 3 inputs"),
        ([(1, 2, -1), *[(LEAF, LEAF, 0)] * 2], "outside of the 3 inputs"),
        ([(1, LEAF, 0), (LEAF, LEAF, 0)], "one child"),
    ],
)
def test_what_is_no_tree_is_named(tree: list[tuple[int, int, int]], says: str) -> None:
    whole = [(LEAF, LEAF, 0)]

    with pytest.raises(ValueError, match=f"(?s)tree 1.*{says}|{says}"):
        check_forest(forest(whole, tree), WIDTH)


def test_a_tree_that_is_deeper_than_any_recursion_is_refused() -> None:
    depth = 10_001
    left = np.full(2 * depth + 1, LEAF)
    left[0 : 2 * depth : 2] = np.arange(1, 2 * depth, 2)
    right = np.where(left == LEAF, LEAF, left + 1)

    with pytest.raises(ValueError, match="deeper than 10000"):
        check_forest(Forest(np.array([len(left)]), left, right, np.zeros(len(left), int)), WIDTH)

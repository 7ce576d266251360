"""LightGBM's text: all that its reader or its trees take for an index or a size.

There is no specification beside the reader (`src/boosting/gbdt_model_text.cpp`, `src/io/tree.cpp`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from loopwright_common.model_files.forest import LEAF, Forest, Indices, check_forest

_WHOLE_NUMBERS = re.compile(r"-?\d{1,18}(?: +-?\d{1,18})*")
_REAL = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
_REAL_NUMBERS = re.compile(f"{_REAL}(?: +{_REAL})*")
_PARAMETER = re.compile(r"\[\w+: .*\]")
_END = "\nend of trees"
_MOST_LINES = 22
"""Of a tree; LightGBM's reader stops there."""
_PER_SPLIT = ("split_gain", "threshold", "internal_value", "internal_weight", "internal_count")
_PER_LEAF = ("leaf_weight", "leaf_count")
_REAL_FIELDS = (
    *(*_PER_SPLIT, *_PER_LEAF),
    *("leaf_value", "leaf_const", "leaf_coeff", "shrinkage"),
)
_CATEGORICAL = 1
_Fields = Mapping[str, str]


def check_lightgbm(path: Path) -> None:
    """ValueError or LookupError says what of the model does not hold together."""
    text = path.read_bytes().decode("latin-1")
    if "\r" in text or "\0" in text:
        raise ValueError("a line ends otherwise than LightGBM ends it")
    described, ended, rest = text.partition(_END)
    if not ended:
        raise ValueError("it has no end of trees")
    head, *blocks = f"{described}\n".split("\nTree=")
    fields = _fields(head.strip("\n").split("\n"))
    width = _count(fields, "max_feature_idx") + 1
    _check_head(fields, blocks)
    forests = []
    for number, block in enumerate(blocks):
        try:
            forests.append(_tree(number, block, width))
        except (ValueError, LookupError) as error:
            raise ValueError(f"tree {number}: {error!s:.200}") from None
    if forests:
        check_forest(_joined(forests), width)
    _check_parameters(rest)


def _check_parameters(rest: str) -> None:
    """LightGBM splits a line of them at its colon, whether there is one or not."""
    _, begun, lines = rest.partition("\nparameters:\n")
    if not begun and "parameters" in rest:
        raise ValueError("parameters: they have no beginning")
    content, ended, _ = lines.partition("\nend of parameters\n")
    if begun and (not ended or not all(map(_PARAMETER.fullmatch, content.strip("\n").split("\n")))):
        raise ValueError("parameters: a line is not [NAME: VALUE]")


def _fields(lines: Sequence[str]) -> _Fields:
    fields = dict(line.partition("=")[::2] for line in lines)
    if len(fields) != len(lines):
        raise ValueError("a line comes twice")
    return fields


def _check_head(fields: _Fields, blocks: Sequence[str]) -> None:
    outputs = _count(fields, "num_class")
    if outputs < 1 or _count(fields, "num_tree_per_iteration") != outputs:
        raise ValueError(f"num_tree_per_iteration: not one tree for each of {outputs} outputs")
    if len(blocks) % outputs:
        raise ValueError(f"num_class: {len(blocks)} trees for {outputs} outputs")
    for word in fields.get("objective", "").split(" "):
        if word.startswith("num_class:") and word != f"num_class:{outputs}":
            raise ValueError(f"objective: {word:.40} of {outputs}")
    if "tree_sizes" in fields and blocks:
        # The line before it belongs to no tree, the one that is cut off here to each.
        sizes = [len("Tree=") + len(block) + 1 for block in blocks]
        sizes[-1] -= 1
        if not np.array_equal(_numbers(fields, "tree_sizes"), sizes):
            raise ValueError("tree_sizes: not the sizes of the trees")


def _tree(number: int, block: str, width: int) -> Forest:
    fields = _tree_fields(number, block)
    leaves, categories = _count(fields, "num_leaves"), _count(fields, "num_cat")
    if leaves < 1:
        raise ValueError("num_leaves: less than one")
    _check_real_numbers(fields)
    if len(fields["leaf_value"].split()) != leaves:
        raise ValueError(f"leaf_value: not one for each of {leaves} leaves")
    if fields.get("is_linear", "0") != "0":
        _check_linear(fields, leaves, width)
    if leaves == 1:  # and its other fields may be empty
        return Forest(np.ones(1, np.int64), *np.full((3, 1), LEAF))
    for name in _PER_LEAF:
        _check_length(fields, name, leaves)
    for name in _PER_SPLIT:
        _check_length(fields, name, leaves - 1)
    _check_categories(fields, categories, leaves - 1)
    return _nodes(fields, leaves)


def _tree_fields(number: int, block: str) -> _Fields:
    first, *lines = block.rstrip("\n").split("\n")
    if first != str(number):
        raise ValueError(f"it is called {first:.20}")
    if len(lines) > _MOST_LINES or not all("=" in line for line in lines):
        raise ValueError("a line is no field of a tree")
    return _fields(lines)


def _nodes(fields: _Fields, leaves: int) -> Forest:
    """A child of -1 is the first leaf, -2 the second; here leaves come after the splits."""
    splits = leaves - 1
    left, right = _numbers(fields, "left_child"), _numbers(fields, "right_child")
    feature = _numbers(fields, "split_feature")
    if {len(left), len(right), len(feature)} != {splits}:
        raise ValueError(f"left_child, right_child, split_feature: not {splits} each")
    no_child = np.full(leaves, LEAF)
    return Forest(
        sizes=np.array([splits + leaves]),
        left=np.concatenate([np.where(left < 0, splits + ~left, left), no_child]),
        right=np.concatenate([np.where(right < 0, splits + ~right, right), no_child]),
        feature=np.concatenate([feature, no_child]),
    )


def _check_real_numbers(fields: _Fields) -> None:
    """What is no number ends the process, where several threads read the trees."""
    for name in _REAL_FIELDS:
        text = fields.get(name, "").strip(" ")
        if text and not _REAL_NUMBERS.fullmatch(text):
            raise ValueError(f"{name}: no list of numbers")


def _check_categories(fields: _Fields, categories: int, splits: int) -> None:
    """A split by category has the number of its set for a threshold."""
    if categories:
        ends = _numbers(fields, "cat_boundaries")
        if len(ends) != categories + 1 or ends[0] != 0 or (np.diff(ends) < 0).any():
            raise ValueError(f"cat_boundaries: they do not cut {categories} sets")
        _check_length(fields, "cat_threshold", int(ends[-1]))
    kinds = (
        _numbers(fields, "decision_type") if "decision_type" in fields else np.zeros(splits, int)
    )
    if len(kinds) != splits:
        raise ValueError(f"decision_type: {len(kinds)} for {splits} splits")
    sets = np.array(fields["threshold"].split(" "))[(kinds & _CATEGORICAL) != 0]
    if any(not one.isdecimal() or int(one) >= categories for one in sets.tolist()):
        raise ValueError(f"threshold: a split outside of {categories} sets of categories")


def _check_linear(fields: _Fields, leaves: int, width: int) -> None:
    """Linear trees have a formula over some inputs at each leaf."""
    _check_length(fields, "leaf_const", leaves)
    counts = _numbers(fields, "num_features")
    if len(counts) != leaves or (counts < 0).any():
        raise ValueError("num_features: not one for each leaf")
    terms = int(counts.sum())
    _check_length(fields, "leaf_coeff", terms)
    inputs = _numbers(fields, "leaf_features")
    if len(inputs) != terms or ((inputs < 0) | (inputs >= width)).any():
        raise ValueError(f"leaf_features: not {terms} of the {width} inputs")


def _joined(forests: Sequence[Forest]) -> Forest:
    names = ("sizes", "left", "right", "feature")
    return Forest(*(np.concatenate([getattr(one, name) for one in forests]) for name in names))


def _check_length(fields: _Fields, name: str, count: int) -> None:
    """Older versions leave some fields out."""
    if name in fields and len(fields[name].split()) != count:
        raise ValueError(f"{name}: {len(fields[name].split())} instead of {count}")


def _numbers(fields: _Fields, name: str) -> Indices:
    text = fields[name].strip(" ")
    if text and not _WHOLE_NUMBERS.fullmatch(text):
        raise ValueError(f"{name}: no list of whole numbers")
    return np.array(text.split(), np.int64)


def _count(fields: _Fields, name: str) -> int:
    (number,) = _numbers(fields, name).tolist()
    return int(number)

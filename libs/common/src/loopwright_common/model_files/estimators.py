"""What a skops file was loaded as, looked at before it predicts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.model_files.forest import Forest, check_forest, integers

_MOST_FEATURES = 1 << 24


def confine_estimator(estimator: Any, source: str) -> Any:
    """The estimator, kept from starting processes of its own.

    InvalidError, which names the `source`, where it would take values of rows as names of files, or
    numbers nodes or columns in a way by which native code reads beyond its memory.
    """
    try:
        _confine(estimator)
    except InvalidError as error:
        raise InvalidError(f"{source}: {error}") from None
    return estimator


def _confine(estimator: Any) -> None:
    for held in _objects(estimator):
        _check_text(held, vars(held))
        if type(held).__name__ == "OneHotEncoder" and not _fits(vars(held)):
            raise InvalidError(
                "OneHotEncoder counts other columns than it has categories: fit it anew"
            )
        if "tree_" in vars(held):
            _check_tree(held.tree_)
        if "n_jobs" in vars(held):
            held.n_jobs = None


def _objects(root: Any) -> Iterator[Any]:
    """Every object of scikit-learn's with attributes, each once."""
    left, seen = [root], set()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple | set):
            left.extend(value)
        elif str(getattr(value, "dtype", None)) == "object":
            left.extend(value.ravel().tolist())
        elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
            yield value
            left.extend(vars(value).values())


def _check_text(held: Any, state: dict[str, Any]) -> None:
    name = type(held).__name__
    if not type(held).__module__.startswith("sklearn.feature_extraction."):
        return
    if state.get("input", "content") != "content":
        raise InvalidError(f"{name} opens the files that rows name: make it with input='content'")
    if not _is_places(state.get("vocabulary_", {})):
        raise InvalidError(f"{name} has a vocabulary_ whose numbers are no places: fit it anew")
    features = state.get("n_features", 1)
    if not isinstance(features, int) or not 0 < features <= _MOST_FEATURES:
        raise InvalidError(f"{name} has n_features of {features!r:.30}: take 1 to {_MOST_FEATURES}")


def _is_places(vocabulary: Any) -> bool:
    """Whether it numbers its words from 0 on, which are columns of the matrix that is made."""
    try:
        return sorted(vocabulary.values()) == list(range(len(vocabulary)))
    except (AttributeError, TypeError):
        return False


def _check_tree(tree: Any) -> None:
    """Predicting walks from child to child without a look at where that is."""
    nodes = tree.node_count
    indices = (tree.children_left, tree.children_right, tree.feature)
    try:
        check_forest(Forest(np.array([nodes]), *map(integers, indices)), tree.n_features)
    except ValueError as error:
        raise InvalidError(f"a decision tree is damaged: {error}; fit it anew") from None


def _fits(encoder: dict[str, Any]) -> bool:
    """Whether each feature has the columns that its categories, grouped and dropped, are put in."""
    if "categories_" not in encoder:
        return True
    categories = encoder["categories_"]
    groups = encoder.get("_default_to_infrequent_mappings") or [None] * len(categories)
    drops = encoder.get("_drop_idx_after_grouping")
    drops = [None] * len(categories) if drops is None else list(drops)
    try:
        expected = [_columns(*each) for each in zip(categories, groups, drops, strict=True)]
    except (AttributeError, TypeError, ValueError):
        return False
    return expected == list(encoder.get("_n_features_outs", expected))


def _columns(categories: Any, group: Any, drop: Any) -> int:
    """How many one feature has; ValueError where a category is put outside of them."""
    count = len(categories)
    if group is not None:
        if len(group) != count or group.dtype.kind not in "iu" or int(group.min()) < 0:
            raise ValueError("not one group for each category")
        count = int(group.max()) + 1
    if drop is None:
        return count
    if not 0 <= int(drop) < count:
        raise ValueError("a category is dropped that there is not")
    return count - 1

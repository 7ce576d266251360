"""Shapes of what the operators of classic models answer, which `onnx` does not infer by itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Shape = tuple[int, ...]
_CLASSES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


def output_shapes(node: Any, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """The shape of each output, for these of the inputs; none where the operator is no such one."""
    rule = _RULES.get(node.op_type)
    return rule({one.name: one for one in node.attribute}, shapes) if rule else ()


def _same(_attributes: Mapping[str, Any], shapes: Sequence[Shape]) -> Sequence[Shape]:
    return [shapes[0]]


def _scores(attributes: Mapping[str, Any], shapes: Sequence[Shape]) -> Sequence[Shape]:
    """A label and a score of each class."""
    rows, classes = _rows(shapes[0]), _classes(attributes)
    return [(rows,), (rows, classes)]


def _pairwise(attributes: Mapping[str, Any], shapes: Sequence[Shape]) -> Sequence[Shape]:
    """Without probabilities a vector machine scores each pair of classes."""
    rows, classes = _rows(shapes[0]), _classes(attributes)
    calibrated = "prob_a" in attributes and len(attributes["prob_a"].floats)
    pairs = classes if calibrated or classes < 3 else math.comb(classes, 2)
    return [(rows,), (rows, pairs)]


def _targets(name: str) -> Callable[[Mapping[str, Any], Sequence[Shape]], Sequence[Shape]]:
    def rule(attributes: Mapping[str, Any], shapes: Sequence[Shape]) -> Sequence[Shape]:
        targets = attributes[name].i if name in attributes else 1
        return [(_rows(shapes[0]), targets)]

    return rule


def _extracted(_attributes: Mapping[str, Any], shapes: Sequence[Shape]) -> Sequence[Shape]:
    """The chosen columns of the last axis."""
    before = shapes[0][:-1] or (1,)
    return [(*before, math.prod(shapes[1]))]


def _rows(shape: Shape) -> int:
    return shape[0] if len(shape) > 1 else 1


def _classes(attributes: Mapping[str, Any]) -> int:
    found = [attributes[name] for name in _CLASSES if name in attributes]
    return max((len(one.strings) or len(one.ints) for one in found), default=1)


_RULES: Mapping[str, Callable[[Mapping[str, Any], Sequence[Shape]], Sequence[Shape]]] = {
    "ArrayFeatureExtractor": _extracted,
    "Imputer": _same,
    "LinearClassifier": _scores,
    "LinearRegressor": _targets("targets"),
    "Normalizer": _same,
    "SVMClassifier": _pairwise,
    "SVMRegressor": _targets(""),
    "Scaler": _same,
    "TreeEnsembleClassifier": _scores,
    "TreeEnsembleRegressor": _targets("n_targets"),
}

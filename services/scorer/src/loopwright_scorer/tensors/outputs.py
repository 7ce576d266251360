"""What every runtime answers with, and how it is declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.tensors.array_stack import stacked
from loopwright_scorer.tensors.tensors import NamedTensor, TensorType, datatype_of

LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """A classifier's `label` and `probabilities` [rows, classes], or a regressor's `prediction`.

    Labels and predictions are [rows], or [rows, k] of a model with k of them; there are then no
    probabilities. A classifier may have a label only.
    """

    label: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    prediction: np.ndarray | None = None

    def tensors(self) -> list[NamedTensor]:
        if self.prediction is not None:
            return [(PREDICTION, self.prediction)]
        tensors: list[NamedTensor] = []
        if self.label is not None:
            tensors.append((LABEL, self.label))
        if self.probabilities is not None:
            tensors.append((PROBABILITIES, self.probabilities))
        return tensors

    def rows(self, start: int, stop: int) -> "ModelOutputs":
        """Those of some of the rows."""
        return ModelOutputs(**{name: array[start:stop] for name, array in self.tensors()})

    def numbers(self) -> np.ndarray | None:
        return self.probabilities if self.prediction is None else self.prediction

    def score(self) -> np.ndarray | None:
        """The monitored number per row: the last probability of two, else the largest.

        A regressor's is its prediction; a model with several per row, or labels only, has none.
        """
        if self.prediction is not None:
            return self.prediction if self.prediction.ndim == 1 else None
        if self.probabilities is None:
            return None
        if self.probabilities.shape[1] == 2:
            return self.probabilities[:, 1]
        return np.asarray(self.probabilities.max(axis=1))


def joined(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """The answers to several calls, in order; UnlikeError where they differ in what they have."""
    several = (
        [getattr(part, name) for part in parts] for name in (LABEL, PROBABILITIES, PREDICTION)
    )
    return ModelOutputs(
        *(None if all(one is None for one in each) else stacked(each) for each in several)
    )


def label_dtype(classes: Sequence[Any] | None) -> np.dtype | None:
    """The labels' type as the classes have it: text, whole numbers, numbers or truth."""
    if classes is None or not len(classes):
        return None
    if isinstance(classes[0], list):
        classes = [one for several in classes for one in several]
    dtype = np.asarray(classes).dtype
    return dtype if dtype.kind in "bif" else np.dtype(object)


def declared(
    spec: ServingSpec, names: Mapping[str, str], label: np.dtype, numbers: np.dtype
) -> list[TensorType]:
    per_row = (-1,) if spec.targets == 1 else (-1, spec.targets)
    kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]] = {
        LABEL: (label, per_row),
        PROBABILITIES: (numbers, (-1, len(spec.classes) if spec.classes else -1)),
        PREDICTION: (numbers, per_row),
    }
    return [TensorType(name, datatype_of(kinds[name][0]), kinds[name][1]) for name in names]


def shaped(rows: int, labels: np.dtype, found: Mapping[str, Any]) -> ModelOutputs:
    """A model's arrays as outputs; labels and predictions [rows, 1] become [rows]."""
    label, prediction = found.get(LABEL), found.get(PREDICTION)
    if label is not None:
        label = _per_row(np.asarray(label), rows).astype(labels, copy=False)
    if prediction is not None:
        prediction = _per_row(np.asarray(prediction), rows)
    probabilities = found.get(PROBABILITIES)
    return ModelOutputs(
        label, None if probabilities is None else np.asarray(probabilities), prediction
    )


def _per_row(array: np.ndarray, rows: int) -> np.ndarray:
    return array.reshape(rows) if array.size == rows else array.reshape(rows, -1)

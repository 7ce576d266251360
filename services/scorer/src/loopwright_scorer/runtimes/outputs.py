"""What every runtime answers with, and how it is declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loopwright_common.serving import ServingSpec
from loopwright_scorer.tensors import NamedTensor, TensorType, datatype_of

LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"


@dataclass(frozen=True, slots=True)
class Outputs:
    """A classifier's `label` [rows] and `probabilities` [rows, classes], or `prediction` [rows]."""

    label: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    prediction: np.ndarray | None = None

    def tensors(self) -> list[NamedTensor]:
        named = ((name, getattr(self, name)) for name in (LABEL, PROBABILITIES, PREDICTION))
        return [(name, array) for name, array in named if array is not None]

    def rows(self, start: int, stop: int) -> "Outputs":
        """Those of some of the rows."""
        return Outputs(**{name: array[start:stop] for name, array in self.tensors()})

    def numbers(self) -> np.ndarray | None:
        return self.probabilities if self.prediction is None else self.prediction

    def score(self) -> np.ndarray | None:
        """The monitored number per row: the last probability of two, else the largest."""
        if self.probabilities is None:
            return self.prediction
        if self.probabilities.shape[1] == 2:
            return self.probabilities[:, 1]
        return np.asarray(self.probabilities.max(axis=1))


def label_dtype(classes: Sequence[Any] | None) -> np.dtype | None:
    """The labels' type as the classes have it: text, whole numbers, numbers or truth."""
    if classes is None or not len(classes):
        return None
    dtype = np.asarray(classes).dtype
    return dtype if dtype.kind in "bif" else np.dtype(object)


def declared(
    spec: ServingSpec, names: Mapping[str, str], label: np.dtype, numbers: np.dtype
) -> list[TensorType]:
    kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]] = {
        LABEL: (label, (-1,)),
        PROBABILITIES: (numbers, (-1, len(spec.classes) if spec.classes else -1)),
        PREDICTION: (numbers, (-1,)),
    }
    return [TensorType(name, datatype_of(kinds[name][0]), kinds[name][1]) for name in names]


def shaped(rows: int, labels: np.dtype, found: Mapping[str, Any]) -> Outputs:
    label, probabilities = found.get(LABEL), found.get(PROBABILITIES)
    prediction = found.get(PREDICTION)
    return Outputs(
        label=None if label is None else np.asarray(label).reshape(rows).astype(labels),
        probabilities=None if probabilities is None else np.asarray(probabilities),
        prediction=None if prediction is None else np.asarray(prediction).reshape(rows),
    )

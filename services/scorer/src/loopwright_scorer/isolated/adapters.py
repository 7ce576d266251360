"""Adapters of the models a package may hold: one `describe`, and arrays in and out of `predict`.

`describe` says what of the serving spec only the opened model knows; arrays are [rows, ...], by
name. Both raise TypeError for what is not served, with the remedy, and what the model raises.
Runs in the package's process without anything of Loopwright's.
"""

from __future__ import annotations

import json
from typing import Any

_REGRESSOR = {"task": "regressor", "classes": None, "predicts": "prediction"}


class EstimatorAdapter:
    """A scikit-learn estimator: `predict`, and a classifier's `classes_` and maybe `predict_proba`.

    One of several labels a row answers them without probabilities.
    """

    def __init__(self, model: Any, columns: bool) -> None:
        self._model = model
        self._columns = columns
        self._is_classifier = hasattr(model, "classes_")
        self._has_chances = self._is_classifier and hasattr(model, "predict_proba")

    def describe(self, *_unused: Any) -> dict[str, Any]:
        kind = type(self._model).__name__
        if not self._is_classifier:
            if not hasattr(self._model, "predict"):
                raise TypeError(f"{kind} has no predict; only what predicts is served")
            return _REGRESSOR
        description = {
            "task": "classifier",
            "predicts": "label",
            "probabilities": self._has_chances,
        }
        return {**description, "classes": _plain(self._model.classes_)}

    def predict(self, _rows: int, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        given = _frame(arrays) if self._columns else next(iter(arrays.values()))
        answer = np.asarray(self._model.predict(given))
        answers = {"label" if self._is_classifier else "prediction": answer}
        if self._has_chances and answer.ndim == 1:
            answers["probabilities"] = np.asarray(self._model.predict_proba(given))
        return answers


class FunctionAdapter:
    """An MLflow python function, which answers numbers, [rows] or [rows, classes]."""

    def __init__(self, model: Any, columns: bool, classes: list[Any] | None) -> None:
        self._model = model
        self._columns = columns
        self._classes = classes

    def describe(self, *_unused: Any) -> dict[str, Any]:
        if self._classes is None:
            return _REGRESSOR
        description = {"classes": self._classes, "predicts": "probabilities", "probabilities": True}
        return {"task": "classifier", **description}

    def predict(self, _rows: int, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        given = _frame(arrays) if self._columns else next(iter(arrays.values()))
        answer = np.asarray(self._model.predict(given))
        if answer.dtype.kind not in "biuf":
            raise TypeError(
                f"the python function answers {answer.dtype}, not numbers; for a classifier answer "
                "probabilities [rows, classes] and name them in the metadata of the package: "
                'metadata={"loopwright": {"classes": [...]}}'
            )
        if self._classes is None:
            return {"prediction": answer.astype(float)}
        if answer.ndim != 2 or answer.shape[1] != len(self._classes):
            raise TypeError(
                f"the python function answers {list(answer.shape)}, and the package names"
                f" {len(self._classes)} classes: answer probabilities [rows, classes]"
            )
        labels = np.array(self._classes, object)[answer.argmax(axis=1)]
        return {"label": labels, "probabilities": answer}


class RiverAdapter:
    """A River learner, which takes a row at a time, as a dictionary."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._classes: list[Any] | None = None

    def describe(self, order: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
        from river.base import Classifier, Regressor

        learner = _learner(self._model)
        if isinstance(learner, Regressor):
            return _REGRESSOR
        if not isinstance(learner, Classifier):
            raise TypeError(
                "the learner is neither classifier nor regressor; only these are served"
            )
        self._classes = order["classes"] or self._seen(example)
        description = {"classes": self._classes, "predicts": "label", "probabilities": True}
        return {"task": "classifier", **description}

    def predict(self, rows: int, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        given = _rows(rows, arrays)
        if self._classes is None:
            predicted = [self._model.predict_one(row) for row in given]
            return {"prediction": np.array(predicted, float)}
        chances = [self._model.predict_proba_one(row) for row in given]
        probabilities = np.array(
            [[one.get(c, 0.0) for c in self._classes] for one in chances], float
        )
        # Without an own decision of the model's, the likeliest.
        labels = np.array(self._classes, object)[probabilities.argmax(axis=1)]
        return {"label": labels, "probabilities": probabilities}

    def _seen(self, example: dict[str, Any]) -> list[Any]:
        rows = len(next(iter(example.values())))
        labels = {
            label for row in _rows(rows, example) for label in self._model.predict_proba_one(row)
        }
        if not labels:
            raise TypeError(
                "the learner has seen no class yet; name them as `classes` of the flavor"
            )
        return sorted(labels)


def _learner(model: Any) -> Any:
    """The learner that predicts: a pipeline's last, or the wrapped one."""
    while True:
        if hasattr(model, "steps"):
            model = list(model.steps.values())[-1]
        elif hasattr(model, "_wrapped_model"):
            model = model._wrapped_model
        else:
            return model


def _rows(rows: int, arrays: dict[str, Any]) -> list[dict[str, Any]]:
    columns = {name: array.tolist() for name, array in arrays.items()}
    return [{name: values[i] for name, values in columns.items()} for i in range(rows)]


def _frame(arrays: dict[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame(arrays, copy=False)


def _plain(classes: Any) -> list[Any]:
    """Classes as JSON has them, one list per label where there are several."""
    plain = [getattr(one, "tolist", lambda one=one: one)() for one in classes]
    json.dumps(plain)
    return plain

"""The process of one package: `python -I -B runner.py DESCRIPTOR`, a socket to its scorer.

Needs nothing of Loopwright but the files named in its order, and of others what the package
brings. The first frame is the order, the second an example; the answer to them says what the model
is. Then rows come, and answers go, until the scorer closes the socket.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_LARGEST = 1 << 30
_PIP = ", with pip_requirements of mlflow's log_model"
_REGRESSOR = {"task": "regressor", "classes": None, "predicts": "prediction"}


def main(descriptor: int) -> int:
    # Whatever a library prints goes where errors go.
    os.dup2(2, 1)
    frames = _module(_HERE / "frames.py")
    scorer = socket.socket(fileno=descriptor)
    take = functools.partial(_take, scorer)
    order, _ = frames.receive(take, _LARGEST)
    confined = _module(_HERE / "confinement.py").confine(order)
    _, example = frames.receive(take, _LARGEST)
    try:
        model = _opened(order)
        told = _described(model, order, example)
    except BaseException as error:  # noqa: BLE001 - a package may raise anything
        scorer.sendall(frames.pack({"error": _words(error)}, {}))
        return 1
    scorer.sendall(frames.pack({**told, "confined": confined}, {}))
    while True:
        head, arrays = frames.receive(take, _LARGEST)
        scorer.sendall(_answer(frames, model, head["rows"], arrays))


def _described(model: Any, order: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    told = {"targets": 1, **model.describe(order, example)}
    try:
        rows = len(next(iter(example.values())))
        answers = model.predict(rows, example)
    except Exception:  # noqa: BLE001 - a made-up example may be refused
        return told
    targets = next(iter(answers.values())).size // rows
    if targets > 1 and told["classes"] and not isinstance(told["classes"][0], list):
        told["classes"] = [[0, 1]] * targets  # of several yes-or-no labels one list names them all
    return {**told, "targets": targets, "probabilities": "probabilities" in answers}


def _answer(frames: Any, model: Any, rows: int, arrays: dict[str, Any]) -> bytes:
    try:
        answer: bytes = frames.pack({}, model.predict(rows, arrays))
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        refused = isinstance(error, ValueError) or type(error).__name__ == "MlflowException"
        return bytes(frames.pack({"error": _words(error), "refused": refused}, {}))
    return answer


def _opened(order: dict[str, Any]) -> Any:
    """The model behind one face, whatever it is."""
    if order["code"]:
        sys.path.insert(0, order["code"])
    model = _LOADERS[order["loader"]](order)
    if hasattr(model, "predict_one"):
        return River(model)
    if order["loader"] != "mlflow":
        return Estimator(model, order["columns"])
    raw = _raw(model)
    if hasattr(raw, "predict_proba") and hasattr(raw, "classes_"):
        return Estimator(raw, order["columns"])
    return Function(model, order["columns"], order["classes"])


def _raw(model: Any) -> Any:
    """The library's own object; None where MLflow does not give it out."""
    try:
        return model.get_raw_model()
    except Exception:  # noqa: BLE001 - flavors say so in different ways
        return None


def _load_pickle(order: dict[str, Any]) -> Any:
    if order["file"].endswith(".joblib"):
        import joblib

        return joblib.load(order["file"])
    import pickle

    with open(order["file"], "rb") as file:
        return pickle.load(file)  # noqa: S301 - an administrator has granted it


def _load_skops(order: dict[str, Any]) -> Any:
    import skops.io

    return skops.io.load(order["file"], trusted=order["trusted"])


def _load_mlflow(order: dict[str, Any]) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(order["file"], suppress_warnings=True)


def _load_river(order: dict[str, Any]) -> Any:
    return _module(Path(order["river_json"])).loads(Path(order["file"]).read_text())


_LOADERS = {
    "pickle": _load_pickle,
    "skops": _load_skops,
    "mlflow": _load_mlflow,
    "river": _load_river,
}


class Estimator:
    """As scikit-learn has it: `predict`, and a classifier's `classes_` and maybe `predict_proba`.

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
        told = {"task": "classifier", "predicts": "label", "probabilities": self._has_chances}
        return {**told, "classes": _plain(self._model.classes_)}

    def predict(self, _rows: int, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        given = _frame(arrays) if self._columns else next(iter(arrays.values()))
        answer = np.asarray(self._model.predict(given))
        answers = {"label" if self._is_classifier else "prediction": answer}
        if self._has_chances and answer.ndim == 1:
            answers["probabilities"] = np.asarray(self._model.predict_proba(given))
        return answers


class Function:
    """MLflow's python function: it answers numbers, [rows] or [rows, classes]."""

    def __init__(self, model: Any, columns: bool, classes: list[Any] | None) -> None:
        self._model = model
        self._columns = columns
        self._classes = classes

    def describe(self, *_unused: Any) -> dict[str, Any]:
        if self._classes is None:
            return _REGRESSOR
        told = {"classes": self._classes, "predicts": "probabilities", "probabilities": True}
        return {"task": "classifier", **told}

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


class River:
    """River's learners take a row at a time, as a dictionary."""

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
        told = {"classes": self._classes, "predicts": "label", "probabilities": True}
        return {"task": "classifier", **told}

    def predict(self, rows: int, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        given = _rows(rows, arrays)
        if self._classes is None:
            predicted = [self._model.predict_one(row) for row in given]
            return {"prediction": np.array(predicted, float)}
        found = [self._model.predict_proba_one(row) for row in given]
        probabilities = np.array([[one.get(c, 0.0) for c in self._classes] for one in found], float)
        # Without an own decision of the model's, the likeliest.
        labels = np.array(self._classes, object)[probabilities.argmax(axis=1)]
        return {"label": labels, "probabilities": probabilities}

    def _seen(self, example: dict[str, Any]) -> list[Any]:
        rows = len(next(iter(example.values())))
        found = {
            label for row in _rows(rows, example) for label in self._model.predict_proba_one(row)
        }
        if not found:
            raise TypeError(
                "the learner has seen no class yet; name them as `classes` of the flavor"
            )
        return sorted(found)


def _learner(model: Any) -> Any:
    """The one that predicts: a pipeline's last, or the wrapped."""
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
    """As JSON has them, one list per label where there are several."""
    plain = [getattr(one, "tolist", lambda one=one: one)() for one in classes]
    json.dumps(plain)
    return plain


def _take(scorer: socket.socket, size: int) -> bytearray:
    taken = bytearray(size)
    view = memoryview(taken)
    while view:
        count = scorer.recv_into(view)
        if not count:
            os._exit(0)  # the scorer is done with this package
        view = view[count:]
    return taken


def _words(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, ModuleNotFoundError):
        words += f"; name what brings it in the package's requirements{_PIP}"
    return words


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1])))

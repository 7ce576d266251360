"""The process of one package: `python -I -B worker_main.py DESCRIPTOR`, a socket to its scorer.

Needs nothing of Loopwright but the files named in its order, and of others what the package
brings; for the loader `runtime` it needs the scorer's runtimes. The first frame is the order, the
second an example; the answer to them says what the model is. Then rows come, and answers go, until
the scorer closes the socket.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import socket
import sys
import types
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_LARGEST = 1 << 30
_RUNTIME = "loopwright_scorer.runtimes.worker_runtime"
_PIP = ", with pip_requirements of mlflow's log_model"


def main(descriptor: int) -> int:
    # Whatever a library prints goes where errors go.
    os.dup2(2, 1)
    frames = _module(_HERE / "framing.py")
    scorer = socket.socket(fileno=descriptor)
    read = functools.partial(_read, scorer)
    order, _ = frames.receive(read, _LARGEST)
    _, example = frames.receive(read, _LARGEST)
    try:
        model = _opened(order)
        description = _described(model, order, example)
    except BaseException as error:  # noqa: BLE001 - a package may raise anything
        scorer.sendall(frames.pack({"error": _sentence(error)}, {}))
        return 1
    scorer.sendall(frames.pack(description, {}))
    while True:
        head, arrays = frames.receive(read, _LARGEST)
        scorer.sendall(_answer(frames, model, head["rows"], arrays))


def _described(model: Any, order: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    description = {"targets": 1, **model.describe(order, example)}
    try:
        rows = len(next(iter(example.values())))
        answers = model.predict(rows, example)
    except Exception:  # noqa: BLE001 - a made-up example may be refused
        return description
    targets = next(iter(answers.values())).size // rows
    if targets > 1 and description["classes"] and not isinstance(description["classes"][0], list):
        description["classes"] = [
            [0, 1]
        ] * targets  # of several yes-or-no labels one list names them all
    return {**description, "targets": targets, "probabilities": "probabilities" in answers}


def _answer(frames: Any, model: Any, rows: int, arrays: dict[str, Any]) -> bytes:
    try:
        answer: bytes = frames.pack({}, model.predict(rows, arrays))
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        refused = isinstance(error, ValueError) or type(error).__name__ == "MlflowException"
        return bytes(frames.pack({"error": _sentence(error), "refused": refused}, {}))
    return answer


def _opened(order: dict[str, Any]) -> Any:
    """The model behind its adapter."""
    if order["code"]:
        sys.path.insert(0, order["code"])
    model = _LOADERS[order["loader"]](order)
    if order["loader"] == "runtime":
        return model
    adapters = _module(_HERE / "adapters.py")
    if hasattr(model, "predict_one"):
        return adapters.RiverAdapter(model)
    if order["loader"] != "mlflow":
        return adapters.EstimatorAdapter(model, order["columns"])
    raw = _raw(model)
    if hasattr(raw, "predict_proba") and hasattr(raw, "classes_"):
        return adapters.EstimatorAdapter(raw, order["columns"])
    return adapters.FunctionAdapter(model, order["columns"], order["classes"])


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
    folder = Path(order["river_json"])
    # Nothing beside it may become importable, as the folder's parent would make it.
    package = types.ModuleType(folder.name)
    package.__path__ = [str(folder)]
    sys.modules[folder.name] = package
    reader = importlib.import_module(f"{folder.name}.reader")
    return reader.loads(Path(order["file"]).read_text())


def _load_runtime(order: dict[str, Any]) -> Any:
    """The scorer's own runtime, on its own Python, where that has to be apart from the scorer."""
    return importlib.import_module(_RUNTIME).open_model(order["directory"], order["spec"])


_LOADERS = {
    "runtime": _load_runtime,
    "pickle": _load_pickle,
    "skops": _load_skops,
    "mlflow": _load_mlflow,
    "river": _load_river,
}


def _read(scorer: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = scorer.recv_into(view)
        if not count:
            os._exit(0)  # the scorer is done with this package
        view = view[count:]
    return received


def _sentence(error: BaseException) -> str:
    sentence = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, ModuleNotFoundError):
        sentence += f"; name what brings it in the package's requirements{_PIP}"
    return sentence


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1])))

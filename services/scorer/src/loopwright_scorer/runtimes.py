"""The engines that compute answers: ONNX Runtime, and scikit-learn's own code for skops."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving import ServingSpec
from loopwright_scorer.plan import Inputs, Plan, narrowed
from loopwright_scorer.v2 import NUMPY_TYPES, NamedTensor, TensorType, datatype_of

_UNSEEN = "Unknown Category"
"""How ONNX Runtime begins to say that an encoder was told not to take new categories."""
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

    def numbers(self) -> np.ndarray | None:
        return self.probabilities if self.prediction is None else self.prediction

    def score(self) -> np.ndarray | None:
        """The monitored number per row: the last probability of two, else the largest."""
        if self.probabilities is None:
            return self.prediction
        if self.probabilities.shape[1] == 2:
            return self.probabilities[:, 1]
        return np.asarray(self.probabilities.max(axis=1))


class Runtime(Protocol):
    @property
    def outputs(self) -> Sequence[TensorType]: ...

    def predict(self, inputs: Inputs) -> Outputs:
        """InvalidError when the model refuses these rows; any other error is the server's."""
        ...


def open_runtime(directory: Path, spec: ServingSpec, plan: Plan) -> Runtime:
    """Load the serving file; seconds of work, so never on the event loop."""
    if spec.format == "onnx":
        return OnnxRuntime(directory / spec.file, spec, plan)
    return SkopsRuntime(directory / spec.file, spec)


class OnnxRuntime:
    """An ONNX graph with one input per column ([rows, 1]) or the tensor's."""

    def __init__(self, path: Path, spec: ServingSpec, plan: Plan) -> None:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail

        self._failure: type[Exception] = Fail
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._feeds = [
            (put.name, _feed(put.name, put.type, plan)) for put in self._session.get_inputs()
        ]
        types = {put.name: put.type for put in self._session.get_outputs()}
        self._names = _graph_names(spec, types)
        self._label_dtype = _label_dtype(spec.classes) or _dtype(
            types.get(self._names.get(LABEL, ""), "tensor(string)")
        )
        numbers = _dtype(types[list(self._names.values())[-1]])
        self.outputs = _outputs(spec, self._names, self._label_dtype, numbers)

    def predict(self, inputs: Inputs) -> Outputs:
        feeds = {name: feed(inputs.arrays[name]) for name, feed in self._feeds}
        try:
            answers = self._session.run(list(self._names.values()), feeds)
        except self._failure as error:
            if _UNSEEN not in str(error):
                raise
            raise InvalidError(
                "the model refuses these rows: a category is new to it; an encoder with "
                "handle_unknown='ignore' would take it"
            ) from None
        found = dict(zip(self._names, answers, strict=True))
        return _shaped(inputs.rows, self._label_dtype, found)


class SkopsRuntime:
    """A scikit-learn estimator in this process, for packages that do not convert."""

    def __init__(self, path: Path, spec: ServingSpec) -> None:
        import skops.io

        self._estimator = skops.io.load(path, trusted=spec.trusted)
        self._columnar = spec.columns is not None
        classes = spec.classes or getattr(self._estimator, "classes_", None)
        self._label_dtype = _label_dtype(classes) or np.dtype(object)
        self._names = _native_names(spec, self._estimator)
        self.outputs = _outputs(spec, self._names, self._label_dtype, np.dtype(np.float64))

    def predict(self, inputs: Inputs) -> Outputs:
        rows = self._rows(inputs)
        try:
            found = {
                name: getattr(self._estimator, method)(rows) for name, method in self._names.items()
            }
        except ValueError as error:
            # scikit-learn's word for data that an estimator cannot take.
            raise InvalidError(f"the model refuses these rows: {error}") from None
        return _shaped(inputs.rows, self._label_dtype, found)

    def _rows(self, inputs: Inputs) -> Any:
        if not self._columnar:
            return next(iter(inputs.arrays.values()))
        import pandas as pd

        return pd.DataFrame(dict(inputs.arrays), copy=False)


def _native_names(spec: ServingSpec, estimator: object) -> dict[str, str]:
    if spec.task == "regressor":
        return {PREDICTION: "predict"}
    names = {LABEL: "predict"}
    if hasattr(estimator, "predict_proba"):
        names[PROBABILITIES] = "predict_proba"
    return names


def _graph_names(spec: ServingSpec, types: Mapping[str, str]) -> dict[str, str]:
    """Our output names to the graph's; a classifier may lack probabilities."""
    wanted = [PREDICTION] if spec.task == "regressor" else [LABEL, PROBABILITIES]
    names = {name: spec.output_names.get(name, name) for name in wanted}
    found = {name: graph for name, graph in names.items() if graph in types}
    if wanted[0] not in found:
        raise InvalidError(
            f"the graph has no output {names[wanted[0]]!r}, only {', '.join(types)};"
            " map it in output_names",
            field="output_names",
        )
    if broken := [graph for graph in found.values() if not types[graph].startswith("tensor(")]:
        raise InvalidError(f"output {broken[0]!r} is no tensor; convert with zipmap off")
    return found


def _feed(name: str, graph_type: str, plan: Plan) -> Callable[[np.ndarray], np.ndarray]:
    """From a column's array to what the graph takes; decided once, when the package is loaded."""
    declared = next((put for put in plan.inputs if put.name == name), None)
    if declared is None:
        raise InvalidError(f"the graph wants an input {name!r} that the signature does not have")
    columnar = len(declared.shape) == 1
    target = _dtype(graph_type)
    source = np.dtype(NUMPY_TYPES[declared.datatype])
    if (source.kind == "O") != (target.kind == "O") or not np.can_cast(source, target, "same_kind"):
        raise InvalidError(
            f"input {name!r}: the signature says {declared.datatype}, the graph takes {graph_type}"
        )

    def feed(array: np.ndarray) -> np.ndarray:
        if target.kind == "O":
            array = _without_missing(array)
        elif target.kind == "f" and target.itemsize < array.dtype.itemsize:
            array = narrowed(name, array, target)
        else:
            array = array.astype(target, copy=False)
        return array.reshape(-1, 1) if columnar else array

    return feed


def _without_missing(text: np.ndarray) -> np.ndarray:
    """ONNX has no missing text: it is the empty string there."""
    if None not in text:
        return text
    return np.array(["" if value is None else value for value in text], object)


def _dtype(graph_type: str) -> np.dtype:
    name = graph_type.removeprefix("tensor(").removesuffix(")")
    known = {"float": "float32", "double": "float64", "string": "object"}
    try:
        return np.dtype(known.get(name, name))
    except TypeError:
        raise InvalidError(f"the graph has a {graph_type}, which is not served") from None


def _label_dtype(classes: Sequence[Any] | None) -> np.dtype | None:
    """The labels' type as the classes have it: text, whole numbers, numbers or truth."""
    if classes is None or not len(classes):
        return None
    dtype = np.asarray(classes).dtype
    return dtype if dtype.kind in "bif" else np.dtype(object)


def _outputs(
    spec: ServingSpec, names: Mapping[str, str], label: np.dtype, numbers: np.dtype
) -> list[TensorType]:
    kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]] = {
        LABEL: (label, (-1,)),
        PROBABILITIES: (numbers, (-1, len(spec.classes) if spec.classes else -1)),
        PREDICTION: (numbers, (-1,)),
    }
    return [TensorType(name, datatype_of(kinds[name][0]), kinds[name][1]) for name in names]


def _shaped(rows: int, label_dtype: np.dtype, found: Mapping[str, Any]) -> Outputs:
    label, probabilities = found.get(LABEL), found.get(PROBABILITIES)
    prediction = found.get(PREDICTION)
    return Outputs(
        label=None if label is None else np.asarray(label).reshape(rows).astype(label_dtype),
        probabilities=None if probabilities is None else np.asarray(probabilities),
        prediction=None if prediction is None else np.asarray(prediction).reshape(rows),
    )

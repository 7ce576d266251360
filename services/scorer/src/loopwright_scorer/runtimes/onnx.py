"""ONNX Runtime: what every package is compiled to where it converts."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving import ServingSpec
from loopwright_scorer.inputs import Inputs, narrowed
from loopwright_scorer.plan import Plan
from loopwright_scorer.runtimes.outputs import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    Outputs,
    declared,
    label_dtype,
    shaped,
)
from loopwright_scorer.tensors import NUMPY_TYPES

_UNSEEN = "Unknown Category"
"""How ONNX Runtime begins to say that an encoder was told not to take new categories."""


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
        self._label_dtype = label_dtype(spec.classes) or _dtype(
            types.get(self._names.get(LABEL, ""), "tensor(string)")
        )
        numbers = _dtype(types[list(self._names.values())[-1]])
        self.outputs = declared(spec, self._names, self._label_dtype, numbers)

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
        return shaped(inputs.rows, self._label_dtype, found)


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

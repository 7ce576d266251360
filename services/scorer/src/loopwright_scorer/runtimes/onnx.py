"""ONNX Runtime: what every package is compiled to where it converts."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.tensors.inputs import ModelInputs, narrow
from loopwright_scorer.tensors.signature import CompiledSignature
from loopwright_scorer.tensors.tensors import (
    LABEL,
    NUMPY_TYPES,
    PREDICTION,
    PROBABILITIES,
    ModelOutputs,
    TensorType,
    declare_outputs,
    label_dtype,
    shape_outputs,
)

Feed = Callable[[ModelInputs], np.ndarray]
_UNSEEN = "Unknown Category"
"""How ONNX Runtime begins to say that an encoder was told not to take new categories."""


class OnnxRuntime:
    """An ONNX graph with matrices of columns, inputs of one column [rows, 1], or the tensor's."""

    def __init__(
        self,
        path: Path,
        spec: ServingSpec,
        signature: CompiledSignature,
        largest_input: float = math.inf,
    ) -> None:
        """`largest_input`: elements of one call's inputs together."""
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail

        self._failure: type[Exception] = Fail
        self._largest_input = largest_input
        self._sure_rows = largest_input // max(_elements_per_row(signature), 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Each session's arena would keep what its largest batch took; without it none is slower.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._feeds = [
            (tensor.name, _feed(tensor.name, tensor.type, spec, signature))
            for tensor in self._session.get_inputs()
        ]
        types = {tensor.name: tensor.type for tensor in self._session.get_outputs()}
        self._names = _graph_names(spec, types)
        self._label_dtype = label_dtype(spec.classes) or _dtype(
            types.get(self._names.get(LABEL, ""), "tensor(string)")
        )
        self._outputs = list(self._names.values())
        numbers = _dtype(types[list(self._names.values())[-1]])
        self.outputs = declare_outputs(spec, self._names, self._label_dtype, numbers)

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        feeds = {name: feed(inputs) for name, feed in self._feeds}
        if inputs.rows > self._sure_rows and _size(feeds) > self._largest_input:
            raise InvalidError(
                f"{inputs.rows} rows at once are more than this model has memory for; send fewer"
            )
        try:
            answers = self._session.run(self._outputs, feeds)
        except self._failure as error:
            if _UNSEEN not in str(error):
                raise
            raise InvalidError(
                "the model refuses these rows: a category is new to it; an encoder with "
                "handle_unknown='ignore' would take it"
            ) from None
        by_name = dict(zip(self._names, answers, strict=True))
        return shape_outputs(inputs.rows, self._label_dtype, by_name)


def _elements_per_row(signature: CompiledSignature) -> float:
    """Infinite where a request says how many there are."""
    shapes = [tensor.shape[1:] for tensor in signature.inputs]
    return math.inf if any(-1 in shape for shape in shapes) else sum(map(math.prod, shapes))


def _size(feeds: Mapping[str, np.ndarray]) -> int:
    return sum(array.size for array in feeds.values())


def _graph_names(spec: ServingSpec, types: Mapping[str, str]) -> dict[str, str]:
    """Our output names to the graph's; a classifier may lack probabilities."""
    wanted = [PREDICTION] if spec.task == "regressor" else [LABEL, PROBABILITIES]
    names = {name: spec.output_names.get(name, name) for name in wanted}
    present = {name: graph for name, graph in names.items() if graph in types}
    if wanted[0] not in present:
        raise InvalidError(
            f"the graph has no output {names[wanted[0]]!r}, only {', '.join(types)};"
            " map it in output_names",
            field="output_names",
        )
    if broken := [graph for graph in present.values() if not types[graph].startswith("tensor(")]:
        raise InvalidError(f"output {broken[0]!r} is no tensor; convert with zipmap off")
    return present


def _feed(name: str, graph_type: str, spec: ServingSpec, signature: CompiledSignature) -> Feed:
    """From a request's rows to what the graph takes; decided once, when the package is loaded."""
    target = _dtype(graph_type)
    columns = spec.matrices.get(name, [name])
    known = {tensor.name: tensor for tensor in signature.inputs}
    for column in columns:
        if column not in known:
            raise InvalidError(
                f"the graph wants an input {column!r} that the signature does not have"
            )
        _check_type(known[column], target)
    if name not in spec.matrices:
        return _one(name, len(known[name].shape) == 1, target)
    return _matrix(columns, target, whole=target.kind != "O" and columns == list(known))


def _check_type(tensor: TensorType, target: np.dtype) -> None:
    source = np.dtype(NUMPY_TYPES[tensor.datatype])
    if (source.kind == "O") != (target.kind == "O") or not np.can_cast(source, target, "same_kind"):
        raise InvalidError(
            f"input {tensor.name!r}: the signature says {tensor.datatype}, the graph takes {target}"
        )


def _one(name: str, columnar: bool, target: np.dtype) -> Feed:
    def feed(inputs: ModelInputs) -> np.ndarray:
        array = _fitting(name, inputs.arrays[name], target)
        return array.reshape(-1, 1) if columnar else array

    return feed


def _matrix(columns: Sequence[str], target: np.dtype, *, whole: bool) -> Feed:
    """Several columns as one array; `whole` where they are all of the signature's, in order."""

    def feed(inputs: ModelInputs) -> np.ndarray:
        try:
            if whole:
                return inputs.as_matrix(target)
            arrays = inputs.arrays
            return _fitting("", np.array([arrays[name] for name in columns]).T, target)
        except InvalidError:
            for name in columns:  # the one at fault raises again, by its name
                _fitting(name, inputs.arrays[name], target)
            raise

    return feed


def _fitting(name: str, array: np.ndarray, target: np.dtype) -> np.ndarray:
    if target.kind == "O":
        return _without_missing(array)
    if target.kind == "f" and array.dtype.kind == "f" and target.itemsize < array.dtype.itemsize:
        return narrow(name, array, target)
    return array.astype(target, copy=False)


def _without_missing(text: np.ndarray) -> np.ndarray:
    """ONNX has no missing text: it is the empty string there."""
    if None not in text:
        return text
    return np.where(text == None, "", text)  # noqa: E711  (elementwise)


def _dtype(graph_type: str) -> np.dtype:
    name = graph_type.removeprefix("tensor(").removesuffix(")")
    known = {"float": "float32", "double": "float64", "string": "object"}
    try:
        return np.dtype(known.get(name, name))
    except TypeError:
        raise InvalidError(f"the graph has a {graph_type}, which is not served") from None

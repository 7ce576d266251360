"""Reads an ONNX graph: its inputs and outputs as the scorer names them, its class labels."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from loopwright_common.errors import InvalidError, without_paths
from loopwright_common.model_files.graph import load_whole
from loopwright_common.serving.spec import Classes, Column, ColumnType, Tensor
from loopwright_common.wording import counted
from loopwright_deployer.packaging.onnx.convert import are_numbers
from loopwright_deployer.packaging.onnx.grouping import group_columns
from loopwright_deployer.packaging.onnx.placement import where_computed
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.native_model import ConvertedGraph, Task

LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"
_FLOATS = (1, 11)  # TensorProto.FLOAT, DOUBLE
_COLUMN_TYPES: dict[int, ColumnType] = {
    1: "float", 6: "integer", 7: "long", 8: "string", 9: "boolean", 11: "double",
}  # fmt: skip
_TENSOR_TYPES = {
    1: "float32",
    2: "uint8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}
_LABEL_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


@dataclass(frozen=True, slots=True)
class GraphDescription:
    """How a graph is served; `content` has plain probabilities in place of a ZipMap."""

    content: bytes
    task: Task
    targets: int
    classes: Classes | None
    columns: list[Column] | None
    tensor: Tensor | None
    matrices: dict[str, list[str]]
    output_names: dict[str, str]
    placement: str | None = None
    """As `where_computed` says it."""


@dataclass(frozen=True, slots=True)
class CompiledGraph:
    """A converted graph with the outputs that are served; `matrices` as in the serving spec."""

    content: bytes
    matrices: dict[str, list[str]]
    output_names: dict[str, str]
    placement: str | None = None


def describe_graph(source: PackageSource) -> GraphDescription:
    """InvalidError when the graph's inputs or outputs are not such as the scorer serves."""
    import onnx

    try:
        # The MLflow client keeps large tensors in files of their own: here they come in.
        onnx_model = load_whole(source.file)
        onnx.checker.check_model(onnx_model)
    except InvalidError:
        raise
    except Exception as error:  # noqa: BLE001  (protobuf and the checker raise various kinds)
        raise InvalidError(f"not a valid ONNX file: {without_paths(error)[:200]}") from None
    graph = onnx_model.graph
    _without_zipmap(graph)
    names = _output_names(graph)
    columns, tensor, matrices = _inputs(onnx_model, source)
    first = next(one for one in graph.output if one.name == next(iter(names.values())))
    return GraphDescription(
        content=bytes(onnx_model.SerializeToString()),
        task="regressor" if PREDICTION in names else "classifier",
        targets=max(_width(first), 1),
        classes=_classes(graph, names) if LABEL in names else None,
        columns=columns,
        tensor=tensor,
        matrices=matrices,
        output_names=names,
        placement=where_computed(onnx_model),
    )


def compile_graph(converted: ConvertedGraph, expected: Collection[str]) -> CompiledGraph:
    """A converter's graph with the `expected` outputs only; a converter gives them in our order."""
    graph = converted.onnx_model.graph
    _without_zipmap(graph)
    ours = [PREDICTION] if PREDICTION in expected else [LABEL, PROBABILITIES]
    outputs = {
        name: output for name, output in zip(ours, graph.output, strict=False) if name in expected
    }
    kept = [_unsized(output) for output in outputs.values()]
    del graph.output[:]
    graph.output.extend(kept)
    content = bytes(converted.onnx_model.SerializeToString())
    names = {name: output.name for name, output in zip(outputs, kept, strict=True)}
    placement = where_computed(converted.onnx_model)
    return CompiledGraph(content, converted.matrices, names, placement)


def _unsized(output: Any) -> Any:
    """A copy without shape: converters declare wrong ones, and the runtime needs none."""
    plain = type(output)()
    plain.CopyFrom(output)
    plain.type.tensor_type.ClearField("shape")
    return plain


def _output_names(graph: Any) -> dict[str, str]:
    """Ours to the graph's; one output of numbers is a prediction, else there is a label."""
    if len(graph.output) == 1:
        output = graph.output[0]
        if len(_shape(output)) > 2:
            raise InvalidError(
                f"ONNX output {output.name!r} has {counted(len(_shape(output)), 'dimension')};"
                " served are predictions [n] and [n, k], or labels and probabilities"
            )
        return {PREDICTION if _kind(output) in _FLOATS else LABEL: output.name}
    floats = [one for one in graph.output if _kind(one) in _FLOATS and len(_shape(one)) == 2]
    labels = [one for one in graph.output if one not in floats]
    if len(floats) != 1 or len(labels) != 1:
        names = ", ".join(one.name for one in graph.output)
        raise InvalidError(
            f"ONNX outputs {names}: a classifier has labels [n] and probabilities [n, classes]"
        )
    return {LABEL: labels[0].name, PROBABILITIES: floats[0].name}


def _inputs(
    onnx_model: Any, source: PackageSource
) -> tuple[list[Column] | None, Tensor | None, dict[str, list[str]]]:
    graph = onnx_model.graph
    constant = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constant]
    if len(inputs) == 1 and (source.tensor is not None or _width(inputs[0]) != 1):
        if source.columns is not None and _is_matrix_of(inputs[0], source.columns):
            return source.columns, None, {inputs[0].name: [c.name for c in source.columns]}
        return None, _tensor(inputs[0], source.tensor), {}
    expected = {column.name: column for column in source.columns or ()}
    if expected and set(expected) != {one.name for one in inputs}:
        raise InvalidError(
            f"the signature names {', '.join(sorted(expected))}, "
            f"the ONNX graph {', '.join(sorted(one.name for one in inputs))}: make them agree"
        )
    by_name = {one.name: _column(one) for one in inputs}
    ordered = list(expected) or list(by_name)
    columns = [expected.get(name, by_name[name]) for name in ordered]
    return columns, None, group_columns(onnx_model)


def _is_matrix_of(value: Any, columns: list[Column]) -> bool:
    """Whether the signature's columns of numbers fill the one input."""
    return (
        len(_shape(value)) == 2
        and _width(value) in (-1, len(columns))
        and _kind(value) in _FLOATS
        and are_numbers(columns)
    )


def _column(value: Any) -> Column:
    if len(_shape(value)) != 2 or _width(value) > 1 or _kind(value) not in _COLUMN_TYPES:
        raise InvalidError(
            f"ONNX input {value.name!r}: with several inputs each is one column, shape [n, 1]"
        )
    return Column(name=value.name, type=_COLUMN_TYPES[_kind(value)])


def _tensor(value: Any, declared: Tensor | None) -> Tensor:
    """The graph's input, sent in the signature's type where it has the graph's shape."""
    shape = _shape(value)[1:]
    if _kind(value) not in _TENSOR_TYPES:
        raise InvalidError(f"ONNX input {value.name!r}: tensors of numbers are served")
    if declared is not None and len(declared.shape) == len(shape):
        return Tensor(name=value.name, dtype=declared.dtype, shape=declared.shape)
    return Tensor(name=value.name, dtype=_TENSOR_TYPES[_kind(value)], shape=shape)


def _without_zipmap(graph: Any) -> None:
    """Serve the matrix that a ZipMap would wrap into a list of dictionaries."""
    import onnx

    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        classes = _attribute_labels(node)
        for output in [one for one in graph.output if one.name == node.output[0]]:
            plain = onnx.helper.make_tensor_value_info(
                node.input[0], onnx.TensorProto.FLOAT, [None, len(classes or ()) or None]
            )
            output.CopyFrom(plain)
        graph.node.remove(node)


def _classes(graph: Any, names: dict[str, str]) -> Classes | None:
    for node in graph.node:
        if labels := _attribute_labels(node):
            return labels
    if PROBABILITIES not in names:
        return None
    width = next(_width(one) for one in graph.output if one.name == names[PROBABILITIES])
    if width < 1:
        raise InvalidError(
            "the ONNX graph names no class labels and no number of classes; "
            "give the probabilities a fixed second dimension"
        )
    return list(range(width))


def _attribute_labels(node: Any) -> Classes | None:
    for attribute in node.attribute:
        if attribute.name in _LABEL_ATTRIBUTES:
            texts: Sequence[bytes] = attribute.strings
            labels: Classes = [text.decode() for text in texts] or list(attribute.ints)
            if labels:
                return labels
    return None


def _kind(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _shape(value: Any) -> list[int]:
    """Dimensions, -1 for a variable one."""
    return [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim]


def _width(value: Any) -> int:
    shape = _shape(value)
    return shape[1] if len(shape) > 1 else 1

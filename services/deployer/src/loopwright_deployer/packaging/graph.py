"""Reads an ONNX graph: its inputs and outputs as the scorer names them, its class labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loopwright_common.errors import InvalidError
from loopwright_common.serving import Column, ColumnType, Tensor
from loopwright_deployer.packaging.join import are_numbers, join_columns
from loopwright_deployer.packaging.source import Source

Classes = list[str | int | float | bool]
Task = Literal["classifier", "regressor"]
_FLOATS = (1, 11)  # TensorProto.FLOAT, DOUBLE
_COLUMN_TYPES: dict[int, ColumnType] = {
    1: "float", 6: "integer", 7: "long", 8: "string", 9: "boolean", 11: "double",
}  # fmt: skip
_TENSOR_TYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_LABEL_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


@dataclass(frozen=True, slots=True)
class Described:
    """How a graph is served; `content` has plain probabilities in place of a ZipMap."""

    content: bytes
    task: Task
    classes: Classes | None
    columns: list[Column] | None
    tensor: Tensor | None
    output_names: dict[str, str]


def describe(content: bytes, source: Source) -> Described:
    """InvalidError when the graph's inputs or outputs are not such as the scorer serves."""
    import onnx

    try:
        onnx_model = onnx.load_model_from_string(content)
        onnx.checker.check_model(onnx_model)
    except Exception as error:  # noqa: BLE001  (protobuf and the checker raise various kinds)
        raise InvalidError(f"not a valid ONNX file: {str(error)[:200]}") from None
    _without_zipmap(onnx_model.graph)
    task: Task = "regressor" if len(onnx_model.graph.output) == 1 else "classifier"
    names = _output_names(onnx_model.graph, task)
    columns, tensor = _inputs(onnx_model.graph, source)
    classes = _classes(onnx_model.graph, names["probabilities"]) if task == "classifier" else None
    served = bytes(onnx_model.SerializeToString())
    return Described(served, task, classes, columns, tensor, names)


def output_names(content: bytes, task: Task) -> dict[str, str]:
    """Our output names to the graph's."""
    import onnx

    return _output_names(onnx.load_model_from_string(content).graph, task)


def _output_names(graph: Any, task: Task) -> dict[str, str]:
    if task == "regressor":
        output = graph.output[0]
        if _kind(output) not in _FLOATS or len(_shape(output)) > 2 or _width(output) > 1:
            raise InvalidError(
                f"ONNX output {output.name!r}: a regressor has one output, floats [n] or [n, 1]; "
                "a classifier needs two, labels and probabilities"
            )
        return {"prediction": output.name}
    floats = [one for one in graph.output if _kind(one) in _FLOATS and len(_shape(one)) == 2]
    labels = [one for one in graph.output if one not in floats]
    if len(floats) != 1 or len(labels) != 1:
        names = ", ".join(one.name for one in graph.output)
        raise InvalidError(
            f"ONNX outputs {names}: a classifier has labels [n] and probabilities [n, classes]"
        )
    return {"label": labels[0].name, "probabilities": floats[0].name}


def _inputs(graph: Any, source: Source) -> tuple[list[Column] | None, Tensor | None]:
    constant = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constant]
    if len(inputs) == 1 and (source.tensor is not None or _width(inputs[0]) != 1):
        if _is_matrix_of(inputs[0], source.columns):
            join_columns(graph, source.columns or [])
            return source.columns, None
        return None, _tensor(inputs[0])
    wanted = {column.name: column for column in source.columns or ()}
    if wanted and set(wanted) != {one.name for one in inputs}:
        raise InvalidError(
            f"the signature names {', '.join(sorted(wanted))}, "
            f"the ONNX graph {', '.join(sorted(one.name for one in inputs))}: make them agree"
        )
    found = {one.name: _column(one) for one in inputs}
    ordered = list(wanted) or list(found)
    return [wanted.get(name, found[name]) for name in ordered], None


def _is_matrix_of(value: Any, columns: list[Column] | None) -> bool:
    """Whether the signature's columns of numbers fill the one input."""
    return (
        columns is not None
        and len(_shape(value)) == 2
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


def _tensor(value: Any) -> Tensor:
    shape = _shape(value)[1:]
    if _kind(value) not in _TENSOR_TYPES:
        raise InvalidError(f"ONNX input {value.name!r}: tensors of numbers are served")
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


def _classes(graph: Any, probabilities: str) -> Classes:
    for node in graph.node:
        if labels := _attribute_labels(node):
            return labels
    width = next(_width(one) for one in graph.output if one.name == probabilities)
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

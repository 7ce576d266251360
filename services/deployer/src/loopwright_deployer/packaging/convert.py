"""scikit-learn to ONNX: one input per column, labels and plain probabilities as outputs."""

from typing import Any

from loopwright_common.serving import Column, Tensor
from loopwright_deployer.packaging.join import are_numbers, join_columns
from loopwright_deployer.packaging.native import Opened

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}


def to_onnx(opened: Opened) -> bytes:
    """The converted graph; raises whatever the converter raises.

    Most converters want one matrix: columns of numbers are joined into one where that is so.
    """
    try:
        return _serialized(_converted(opened, _initial_types(opened.columns, opened.tensor)))
    except Exception:
        if opened.columns is None or not are_numbers(opened.columns):
            raise
        return _joined(opened, opened.columns)


def _joined(opened: Opened, columns: list[Column]) -> bytes:
    from skl2onnx.common.data_types import FloatTensorType

    matrix = [("features", FloatTensorType([None, len(columns)]))]
    converted = _converted(opened, matrix)
    join_columns(converted.graph, columns)
    return _serialized(converted)


def _converted(opened: Opened, initial_types: list[tuple[str, Any]]) -> Any:
    import skl2onnx

    options = {}
    if opened.task == "classifier":
        options = {id(_last(opened.estimator)): {"zipmap": False}}
    return skl2onnx.to_onnx(
        opened.estimator,
        initial_types=initial_types,
        options=options,
        target_opset=TARGET_OPSET,
    )


def _serialized(converted: Any) -> bytes:
    return bytes(converted.SerializeToString())


def _initial_types(columns: list[Column] | None, tensor: Tensor | None) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types as types

    by_type = {
        "double": types.FloatTensorType,
        "float": types.FloatTensorType,
        "long": types.Int64TensorType,
        "integer": types.Int64TensorType,
        "boolean": types.BooleanTensorType,
        "string": types.StringTensorType,
    }
    if tensor is not None:
        return [(tensor.name, types.FloatTensorType([None, *tensor.shape]))]
    return [(column.name, by_type[column.type]([None, 1])) for column in columns or ()]


def _last(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator

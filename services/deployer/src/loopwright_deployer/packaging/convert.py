"""scikit-learn to ONNX: one input per column, labels and plain probabilities as outputs."""

from typing import Any

from loopwright_common.serving import Column, Tensor
from loopwright_deployer.packaging.native import Opened

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}


def to_onnx(opened: Opened) -> bytes:
    """The converted graph; raises whatever the converter raises."""
    import skl2onnx

    options = {}
    if opened.task == "classifier":
        options = {id(_last(opened.estimator)): {"zipmap": False}}
    converted = skl2onnx.to_onnx(
        opened.estimator,
        initial_types=_initial_types(opened.columns, opened.tensor),
        options=options,
        target_opset=TARGET_OPSET,
    )
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

"""scikit-learn to ONNX: columns of numbers as one matrix where the estimator takes one."""

from collections.abc import Callable, Sequence
from typing import Any

from loopwright_common.serving.spec import Column, ColumnType, Tensor
from loopwright_deployer.packaging.onnx.grouping import group_columns
from loopwright_deployer.packaging.sources.native_model import ConvertedGraph, Task

MATRIX = "features"
_TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}
_NUMBERS: frozenset[ColumnType] = frozenset({"double", "float", "long", "integer", "boolean"})
_ZIPMAP = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
Conversion = Callable[[], ConvertedGraph]


def are_numbers(columns: Sequence[Column] | None) -> bool:
    return columns is not None and all(column.type in _NUMBERS for column in columns)


def conversions(
    estimator: Any, task: Task, columns: list[Column] | None, tensor: Tensor | None
) -> list[Conversion]:
    """Ways to convert, the fastest form first; each raises whatever the converter raises."""
    _register_boosters(estimator)

    def matrix(kind: str) -> Conversion:
        return lambda: _matrix(estimator, task, columns, tensor, kind)

    in_32_bits, in_64_bits = matrix("FloatTensorType"), matrix("DoubleTensorType")
    if columns is None:
        return [in_32_bits, in_64_bits]
    by_column: Conversion = lambda: _by_column(estimator, task, columns)  # noqa: E731
    return [in_32_bits, by_column, in_64_bits] if are_numbers(columns) else [by_column]


def _matrix(
    estimator: Any, task: Task, columns: list[Column] | None, tensor: Tensor | None, kind: str
) -> ConvertedGraph:
    from skl2onnx.common import data_types

    name = tensor.name if tensor else MATRIX
    shape = tensor.shape if tensor else [len(columns or ())]
    tensor_input = (name, getattr(data_types, kind)([None, *shape]))
    matrices = {MATRIX: [column.name for column in columns]} if columns else {}
    return ConvertedGraph(_converted(estimator, task, [tensor_input]), matrices)


def _by_column(estimator: Any, task: Task, columns: list[Column]) -> ConvertedGraph:
    from skl2onnx.common import data_types as types

    by_type = {
        "double": types.FloatTensorType,
        "float": types.FloatTensorType,
        "long": types.Int64TensorType,
        "integer": types.Int64TensorType,
        "boolean": types.BooleanTensorType,
        "string": types.StringTensorType,
    }
    inputs = [(column.name, by_type[column.type]([None, 1])) for column in columns]
    onnx_model = _converted(estimator, task, inputs)
    return ConvertedGraph(onnx_model, group_columns(onnx_model))


def _converted(estimator: Any, task: Task, initial_types: list[tuple[str, Any]]) -> Any:
    import skl2onnx

    def converted(options: dict[int, Any]) -> Any:
        return skl2onnx.to_onnx(
            estimator, initial_types=initial_types, options=options, target_opset=_TARGET_OPSET
        )

    if task == "classifier":
        try:
            return converted({id(_last(estimator)): {"zipmap": False}})
        except NameError:  # a classifier without that option
            pass
    return converted({})


def _last(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _register_boosters(estimator: Any) -> None:
    """So that boosted trees at the end of a pipeline convert, too."""
    last = type(_last(estimator))
    if last.__module__.startswith("lightgbm."):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        _register(last, f"LightGbm{last.__name__}", convert_lightgbm)
    elif last.__module__.startswith("xgboost."):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        _register(last, f"XGBoost{last.__name__}", convert_xgboost)


def _register(kind: type, alias: str, converter: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes
    from sklearn.base import ClassifierMixin

    if issubclass(kind, ClassifierMixin):
        shape, options = shapes.calculate_linear_classifier_output_shapes, _ZIPMAP
    else:
        shape, options = shapes.calculate_linear_regressor_output_shapes, None
    update_registered_converter(kind, alias, shape, converter, options=options)

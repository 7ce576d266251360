"""A package's model as packaging sees it, whatever library made it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Classes, Column, Tensor
from loopwright_deployer.packaging.sources.mlmodel import TENSOR_INPUT, PackageSource
from loopwright_deployer.packaging.sources.sample_rows import SampleRows

Task = Literal["classifier", "regressor"]
Predicts = Literal["label", "chance", "probabilities", "prediction"]
ModelOutputs = dict[str, Any]
"""`label` and `probabilities`, or `prediction`, as arrays with one entry per row."""


@dataclass(frozen=True, slots=True)
class ConvertedGraph:
    """An ONNX graph; `matrices` as in the serving spec."""

    onnx_model: Any
    matrices: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class NativeForm:
    """The native form: the file the scorer opens, and what of the spec belongs to it."""

    content: bytes
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NativeModel:
    """A model that answers rows natively; `conversions` are tried in order.

    `native_form` raises InvalidError where it may not be served so.
    """

    task: Task
    classes: Classes | list[Classes] | None
    columns: list[Column] | None
    tensor: Tensor | None
    predicts: Predicts
    infer: Callable[[SampleRows], ModelOutputs]
    conversions: Sequence[Callable[[], ConvertedGraph]]
    native_form: Callable[[], NativeForm]


def signature_of(
    source: PackageSource, width: int | None, *, named: bool
) -> tuple[list[Column] | None, Tensor | None]:
    """The package's own, else one tensor [rows, width] unless the model knows `named` columns.

    InvalidError where neither the package nor the model says what the inputs are.
    """
    if source.columns is not None or source.tensor is not None:
        return source.columns, source.tensor
    if named or width is None:
        raise InvalidError(
            "the package has no signature; log it with signature=infer_signature(X, y) "
            "or with an input_example"
        )
    return None, Tensor(name=TENSOR_INPUT, dtype="float64", shape=[width])


def python_values(values: Any) -> Classes:
    """Python's own types of numpy's."""
    return [getattr(one, "item", lambda one=one: one)() for one in values]

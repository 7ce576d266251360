"""What XGBoost and LightGBM have in common: trees over numbers and coded categories."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Classes, Column, Tensor
from loopwright_deployer.packaging.onnx.convert import MATRIX, Conversion, are_numbers
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.native_model import (
    ConvertedGraph,
    ModelOutputs,
    NativeForm,
    NativeModel,
    Predicts,
    Task,
    signature_of,
)
from loopwright_deployer.packaging.sources.sample_rows import native_inputs

TARGET_OPSET = 15
"""The highest that onnxmltools knows."""


@dataclass(frozen=True, slots=True)
class TreeModel:
    """A library's booster over `width` features.

    `raw` takes a frame or array [rows, width] and answers [rows], or [rows, k] where there are
    several answers a row: chances for a classifier. `convert` takes the inputs' names and types as
    onnxmltools has them, and raises whatever that raises.
    """

    kind: str
    file: str
    width: int
    names: list[str] | None
    categories: dict[int, Classes]
    """Categories by the index of the feature, in the order of the codes that the trees know."""
    classes: Classes | None
    predicts: Predicts
    content: bytes
    raw: Callable[[Any], Any]
    convert: Callable[[list[tuple[str, Any]]], Any]

    @property
    def task(self) -> Task:
        return "regressor" if self.classes is None else "classifier"


def open_trees(source: PackageSource, trees: TreeModel) -> NativeModel:
    """InvalidError when the signature is not that of the trees."""
    columns, tensor = signature_of(source, trees.width, named=trees.names is not None)
    _check_fits(trees, columns, tensor)
    categories = {columns[at].name: known for at, known in trees.categories.items() if columns}
    return NativeModel(
        task=trees.task,
        classes=trees.classes,
        columns=columns,
        tensor=tensor,
        predicts=trees.predicts,
        infer=lambda rows: _answer(trees, categories, native_inputs(rows, columns, tensor)),
        conversions=_conversions(trees, columns, tensor),
        native_form=lambda: NativeForm(
            trees.content, {"format": trees.kind, "file": trees.file, "categories": categories}
        ),
    )


def _check_fits(trees: TreeModel, columns: list[Column] | None, tensor: Tensor | None) -> None:
    given = [column.name for column in columns] if columns else None
    width = len(given) if given else (tensor.shape if tensor else [])
    if width not in (trees.width, [trees.width]):
        raise InvalidError(
            f"the signature has {width} inputs, the trees want {trees.width}: log the model with"
            " the signature of what it was trained on"
        )
    if given and trees.names and given != trees.names:
        raise InvalidError(
            f"the signature names {', '.join(given)}, the trees {', '.join(trees.names)}: log the"
            " model with the signature of what it was trained on"
        )
    for at, column in enumerate(columns or ()):
        if not are_numbers([column]) and at not in trees.categories:
            raise _no_number(column)


def _no_number(column: Column) -> InvalidError:
    return InvalidError(
        f"column {column.name!r} is no number, and the trees know no categories of it: train on"
        " a pandas category column, or encode it in a scikit-learn pipeline"
    )


def _answer(trees: TreeModel, categories: dict[str, Classes], inputs: Any) -> ModelOutputs:
    import numpy as np
    import pandas as pd

    for name, known in categories.items():
        inputs[name] = pd.Categorical(inputs[name], categories=known)
    raw = np.asarray(trees.raw(inputs))
    if trees.classes is None:
        return {"prediction": raw}
    if raw.ndim == 2 and len(trees.classes) == 2:
        return {"label": (raw > 0.5).astype(np.int64)}  # several yes-or-no labels a row
    chances = raw if raw.ndim == 2 else np.stack([1 - raw, raw], axis=1)
    return {
        "label": np.array(trees.classes)[chances.argmax(axis=1)],
        "probabilities": chances,
    }


def _conversions(
    trees: TreeModel, columns: list[Column] | None, tensor: Tensor | None
) -> list[Conversion]:
    """None where columns are categories: the library's own codes are simpler and as fast."""
    if trees.categories:
        return []

    def convert() -> ConvertedGraph:
        from onnxmltools.convert.common.data_types import FloatTensorType

        name = tensor.name if tensor else MATRIX
        onnx_model = trees.convert([(name, FloatTensorType([None, trees.width]))])
        matrices = {MATRIX: [column.name for column in columns]} if columns else {}
        return ConvertedGraph(onnx_model, matrices)

    return [convert]

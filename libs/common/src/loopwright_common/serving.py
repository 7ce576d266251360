"""What a scorer needs to know of a package: `loopwright.json` beside the serving file.

The deployer's packaging writes it, the scorer reads it and opens nothing else but `file`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SPEC_FILE = "loopwright.json"
ColumnType = Literal["double", "float", "long", "integer", "boolean", "string", "datetime"]


class Column(BaseModel):
    """One input of a tabular signature, with MLflow's type names."""

    model_config = ConfigDict(frozen=True)
    name: str
    type: ColumnType
    required: bool = True


class Tensor(BaseModel):
    """The one input of a tensor signature; `shape` without the leading batch dimension."""

    model_config = ConfigDict(frozen=True)
    name: str
    dtype: str
    shape: list[int]


class ServingSpec(BaseModel):
    """How to serve a package. Exactly one of `columns` and `tensor` is given.

    `classes` are a classifier's labels in the order of its probabilities. An ONNX `file` has one
    input per column (shape [-1, 1]) or the tensor's; its outputs are `label` and `probabilities`,
    or `prediction` for a regressor, whatever the converter called them (`output_names` maps).
    """

    model_config = ConfigDict(frozen=True)
    format: Literal["onnx", "sklearn-skops"]
    file: str
    task: Literal["classifier", "regressor"]
    classes: list[str | int | float | bool] | None = None
    columns: list[Column] | None = None
    tensor: Tensor | None = None
    output_names: dict[str, str] = {}
    trusted: list[str] = []
    source_digest: str
    example: dict[str, list[Any]] | None = None
    parity: str | None = None
    """One sentence: how closely the compiled form agrees with the native one."""

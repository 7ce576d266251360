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


Classes = list[str | int | float | bool]


class IsolatedSpec(BaseModel):
    """How a package is opened in a process of its own, and on which Python."""

    model_config = ConfigDict(frozen=True)
    loader: Literal["pickle", "mlflow", "skops", "river", "runtime"]
    """`runtime` is the scorer's own of another format, and in no package."""
    requirements: list[str] = []
    """What must be installed; the scorer's own Python is taken where it has all of them."""
    python: str | None = None
    """`3.11`, where the file can be opened with that one only."""
    code: str | None = None
    """A directory of modules that the package brings."""


class ServingSpec(BaseModel):
    """How to serve a package. Exactly one of `columns` and `tensor` is given.

    `classes` are a classifier's labels in the order of its probabilities, one list per output
    where `targets` is more than one. An ONNX `file` has the tensor's input, or for each column an
    input of shape [-1, 1] unless one of `matrices` has it; its outputs are `label` and
    `probabilities`, or `prediction` for a regressor, whatever the converter called them
    (`output_names` maps). A classifier without probabilities has a label only.
    """

    model_config = ConfigDict(frozen=True)
    format: Literal["onnx", "sklearn-skops", "xgboost", "lightgbm", "isolated"]
    file: str
    task: Literal["classifier", "regressor"]
    targets: int = 1
    """Labels or predictions per row; with several there is no monitored score."""
    classes: Classes | list[Classes] | None = None
    columns: list[Column] | None = None
    tensor: Tensor | None = None
    matrices: dict[str, list[str]] = {}
    """ONNX inputs of shape [-1, k] by name: the k columns that each takes, in order."""
    categories: dict[str, Classes] = {}
    """For boosted trees: a column's categories in the order of the codes that the trees know."""
    output_names: dict[str, str] = {}
    trusted: list[str] = []
    isolated: IsolatedSpec | None = None
    """Given for the format `isolated` alone."""
    predicts: Literal["label", "chance", "probabilities", "prediction"] | None = None
    """What MLflow's own `predict` answers with; `chance` is that of the last class."""
    source_digest: str
    example: dict[str, list[Any]] | None = None
    parity: str | None = None
    """One sentence: how closely the compiled form agrees with the native one."""

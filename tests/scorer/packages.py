"""Small serving packages, as the deployer would make them."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loopwright_common.serving.spec import SPEC_FILE, Column, ServingSpec, Tensor

COLUMNS = [
    Column(name="age", type="double"),
    Column(name="visits", type="long"),
    Column(name="job", type="string"),
    Column(name="balance", type="double", required=False),
]
EXAMPLE = {"age": [41.0], "visits": [2], "job": ["clerk"], "balance": [10.5]}
SOURCE = "sha256:" + "0" * 64
BREAKS_AT = 100
"""The brittle model raises for this many visits or more."""


def write_spec(directory: Path, spec: ServingSpec) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SPEC_FILE).write_text(spec.model_dump_json(exclude_none=True))
    return directory


def trained(directory: Path, seed: int, *, native: bool, unseen: str = "ignore") -> Path:
    """A logistic regression over text and numbers, as ONNX or as skops.

    With `unseen="error"` it takes no job that it was not trained on.
    """
    pipeline = _fitted(seed, unseen)
    directory.mkdir(parents=True)
    if native:
        import skops.io

        skops.io.dump(pipeline, directory / "model.skops")
        untrusted = skops.io.get_untrusted_types(file=directory / "model.skops")
        fields = {"format": "sklearn-skops", "file": "model.skops", "trusted": untrusted}
    else:
        (directory / "model.onnx").write_bytes(_converted(pipeline))
        fields = {"format": "onnx", "file": "model.onnx"}
    spec = ServingSpec(
        **fields,
        task="classifier",
        classes=["no", "yes"],
        columns=COLUMNS,
        source_digest=SOURCE,
        example=EXAMPLE,
    )
    return write_spec(directory, spec)


def words(directory: Path) -> Path:
    """A logistic regression over words, as skops; its vectorizer fails where a text is missing."""
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = pd.DataFrame({"subject": ["the parcel is late", "the card was charged"]})
    columns = make_column_transformer((TfidfVectorizer(), "subject"))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(rows, ["shipping", "billing"])
    directory.mkdir(parents=True)
    skops.io.dump(pipeline, directory / "model.skops")
    spec = ServingSpec(
        format="sklearn-skops",
        file="model.skops",
        trusted=skops.io.get_untrusted_types(file=directory / "model.skops"),
        task="classifier",
        classes=["billing", "shipping"],
        columns=[Column(name="subject", type="string")],
        source_digest=SOURCE,
        example={"subject": ["a parcel"]},
    )
    return write_spec(directory, spec)


NUMBERS = ("age", "visits", "height", "balance")


def numeric(directory: Path) -> Path:
    """A logistic regression over numbers of one type, which its graph takes as one matrix."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(1).normal(size=(200, len(NUMBERS)))
    model = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(
            model,
            initial_types=[("rows", FloatTensorType([None, len(NUMBERS)]))],
            options={id(model): {"zipmap": False}},
        )
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(converted.SerializeToString())
    spec = ServingSpec(
        format="onnx",
        file="model.onnx",
        task="classifier",
        classes=["no", "yes"],
        columns=[Column(name=name, type="double") for name in NUMBERS],
        matrices={"rows": list(NUMBERS)},
        source_digest=SOURCE,
    )
    return write_spec(directory, spec)


def brittle(directory: Path, score: float = 0.25) -> Path:
    """A classifier of the same signature with a constant score, that raises for many visits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    probabilities = np.full((BREAKS_AT, 2), [1 - score, score], np.float32)
    labels = np.array([b"no", b"yes"], object)[[int(score > 0.5)] * BREAKS_AT]
    kinds = {"double": TensorProto.DOUBLE, "long": TensorProto.INT64, "string": TensorProto.STRING}
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["visits", "axis"], ["at"]),
            helper.make_node("Gather", ["labels", "at"], ["label"]),
            helper.make_node("Gather", ["table", "at"], ["probabilities"]),
        ],
        "brittle",
        [helper.make_tensor_value_info(c.name, kinds[c.type], [None, 1]) for c in COLUMNS],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [
            numpy_helper.from_array(probabilities, "table"),
            numpy_helper.from_array(np.array([1]), "axis"),
            helper.make_tensor("labels", TensorProto.STRING, [BREAKS_AT], labels.tolist()),
        ],
    )
    return _saved(directory, helper.make_model(graph, opset_imports=[_opset(onnx)]), "classifier")


def summing(directory: Path, shape: Sequence[int] = (2, 2)) -> Path:
    """A regressor over one tensor of two dimensions, -1 for any size: the sum of its values."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sizes = [None, *(None if size < 0 else size for size in shape)]
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["pixels", "axes"], ["variable"], keepdims=0)],
        "summing",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[_opset(onnx)])
    return _saved(directory, model, "regressor", shape)


def _saved(directory: Path, made: object, task: str, shape: Sequence[int] = ()) -> Path:
    directory.mkdir(parents=True)
    made.ir_version = 10  # type: ignore[attr-defined]
    (directory / "model.onnx").write_bytes(made.SerializeToString())  # type: ignore[attr-defined]
    if task == "classifier":
        spec = ServingSpec(
            format="onnx",
            file="model.onnx",
            task="classifier",
            classes=["no", "yes"],
            columns=COLUMNS,
            source_digest=SOURCE,
            example=EXAMPLE,
        )
    else:
        spec = ServingSpec(
            format="onnx",
            file="model.onnx",
            task="regressor",
            tensor=Tensor(name="pixels", dtype="float64", shape=list(shape)),
            output_names={"prediction": "variable"},
            source_digest=SOURCE,
        )
    return write_spec(directory, spec)


def _opset(onnx: object) -> object:
    return onnx.helper.make_opsetid("", 18)  # type: ignore[attr-defined]


def _fitted(seed: int, unseen: str) -> object:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "age": random.normal(40, 10, 200),
            "visits": random.integers(0, 9, 200),
            "job": random.choice(["clerk", "nurse", "smith"], 200),
            "balance": random.normal(0, 1, 200),
        }
    )
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), ["age", "visits", "balance"]),
            ("text", OneHotEncoder(handle_unknown=unseen), ["job"]),
        ]
    )
    answers = np.where(rows["age"] + random.normal(0, 5, 200) > 40, "yes", "no")
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(rows, answers)


def _converted(pipeline: object) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"double": FloatTensorType, "long": Int64TensorType, "string": StringTensorType}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(
            pipeline,
            initial_types=[(c.name, kinds[c.type]([None, 1])) for c in COLUMNS],
            options={id(pipeline): {"zipmap": False}},
        )
    return bytes(converted.SerializeToString())

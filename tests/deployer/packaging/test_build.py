"""Real packages: what converts, what stays native, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_deployer.packaging.build import PackagingJob, build_package
from tests.deployer.builders import (
    COLUMNS,
    customers,
    graph_of,
    onnx_package,
    pipeline,
    skops_package,
    with_example,
)
from tests.scorer.harmful_packages import endless, graph_model

PIXELS = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 64]}}]
EXAMPLE = [[30, 0.5, "nurse"], [60, -0.5, "clerk"]]


def packed(source: Path, rows: Path | None = None) -> ServingSpec:
    target = source.parent / "target"
    build_package(PackagingJob(source, target, "sha256:" + "1" * 64, rows))
    return ServingSpec.model_validate_json((target / SPEC_FILE).read_text())


def training_file(tmp_path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame, labels = customers(600, seed=5)
    columns = {name: frame[name].tolist() for name in frame.columns}
    pq.write_table(pa.table({**columns, "y": labels.tolist()}), tmp_path / "training.parquet")
    return tmp_path / "training.parquet"


def test_a_pipeline_over_mixed_columns_becomes_onnx_with_its_figure(tmp_path: Path) -> None:
    source = skops_package(tmp_path / "source", pipeline(), COLUMNS)
    with_example(source, ["age", "rate", "job"], EXAMPLE)

    spec = packed(source, training_file(tmp_path))

    assert (spec.format, spec.task, spec.classes) == ("onnx", "classifier", [0, 1])
    assert [c.name for c in spec.columns or ()] == ["age", "rate", "job"]
    assert spec.parity is not None
    assert "labels differ on 0 of 502 rows" in spec.parity


@pytest.mark.filterwarnings("ignore:Field onnx.AttributeProto:DeprecationWarning")
def test_histogram_boosting_is_served_as_onnx(tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame, labels = customers(400)
    numbers = frame[["age", "rate"]]
    estimator = HistGradientBoostingClassifier(max_iter=10).fit(numbers, labels)
    source = skops_package(tmp_path / "source", estimator, COLUMNS[:2])
    with_example(source, ["age", "rate"], [row[:2] for row in EXAMPLE])

    assert packed(source, training_file(tmp_path)).format == "onnx"


def test_digits_with_a_tensor_input_become_onnx(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    images, labels = load_digits(return_X_y=True)
    estimator = LogisticRegression(max_iter=200).fit(images[:600] / 16, labels[:600])
    source = skops_package(tmp_path / "source", estimator, PIXELS)

    spec = packed(source)

    assert spec.tensor is not None
    assert (spec.format, spec.tensor.shape, spec.classes) == ("onnx", [64], list(range(10)))


def test_what_does_not_convert_stays_native_and_says_why(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    frame, labels = customers(200)
    estimator = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression())
    estimator.fit(frame[["age"]], labels)
    source = skops_package(tmp_path / "source", estimator, COLUMNS[:1])
    with_example(source, ["age"], [[30]])

    spec = packed(source)

    assert spec.format == "sklearn-skops"
    assert spec.parity is not None
    assert "does not convert" in spec.parity


def test_types_outside_the_trusted_list_are_named(tmp_path: Path) -> None:
    from sklearn.gaussian_process import GaussianProcessClassifier

    frame, labels = customers(30)
    estimator = GaussianProcessClassifier().fit(frame[["age"]], labels)
    source = skops_package(tmp_path / "source", estimator, COLUMNS[:1])

    with pytest.raises(InvalidError, match=r"not trusted: .*gaussian_process"):
        packed(source)


def test_no_signature_is_refused_with_the_remedy(tmp_path: Path) -> None:
    unsigned = skops_package(tmp_path / "a", pipeline(), [])

    with pytest.raises(InvalidError, match="infer_signature"):
        packed(unsigned)


def test_an_onnx_package_with_a_zipmap_is_served_with_plain_probabilities(tmp_path: Path) -> None:
    import onnxruntime

    source = onnx_package(tmp_path / "source", graph_of(pipeline()), COLUMNS)

    spec = packed(source)
    session = onnxruntime.InferenceSession(tmp_path / "target" / spec.file)

    assert (spec.task, spec.classes) == ("classifier", [0, 1])
    assert [c.type for c in spec.columns or ()] == ["long", "double", "string"]
    shapes = {one.name: len(one.shape) for one in session.get_outputs()}
    assert shapes[spec.output_names["probabilities"]] == 2


def test_an_onnx_package_with_one_matrix_is_served_by_columns(tmp_path: Path) -> None:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LinearRegression

    frame, labels = customers(100)
    estimator = LinearRegression().fit(frame[["age", "rate"]], labels)
    matrix = [("features", FloatTensorType([None, 2]))]
    graph = skl2onnx.to_onnx(estimator, initial_types=matrix, target_opset=18)
    source = onnx_package(tmp_path / "source", graph.SerializeToString(), COLUMNS[:2])

    spec = packed(source)

    assert spec.task == "regressor"
    assert [c.name for c in spec.columns or ()] == ["age", "rate"]


def test_an_onnx_package_whose_signature_disagrees_is_refused(tmp_path: Path) -> None:
    source = onnx_package(tmp_path / "source", graph_of(pipeline()), COLUMNS[:2])

    with pytest.raises(InvalidError, match=r"signature names age, rate.*graph age, job, rate"):
        packed(source)


def test_a_file_that_leaves_the_package_is_refused(tmp_path: Path) -> None:
    source = onnx_package(tmp_path / "source", b"", COLUMNS)
    content = json.loads((source / "MLmodel").read_text())
    content["flavors"]["onnx"]["data"] = "../secret"
    (source / "MLmodel").write_text(json.dumps(content))

    with pytest.raises(InvalidError, match="no file of the package"):
        packed(source)


def test_a_graph_that_is_not_proven_says_where_it_runs_and_at_which_node(tmp_path: Path) -> None:
    content = endless(tmp_path / "made").joinpath("model.onnx").read_bytes()
    spec = packed(onnx_package(tmp_path / "source", content, []))

    assert spec.format == "onnx"
    assert spec.parity is not None
    assert spec.parity.startswith("runs in a process of its own: node 'turns' (Loop)")


@pytest.mark.parametrize("named", ["/etc/passwd", "../secret", "linked", "gone", ""])
def test_a_tensor_outside_of_the_package_is_refused(tmp_path: Path, named: str) -> None:
    import onnx

    model = graph_model([onnx.helper.make_node("Add", ["x", "far"], ["variable"])])
    far = onnx.helper.make_tensor("far", onnx.TensorProto.DOUBLE, [1], [1.0])
    far.ClearField("double_data")
    far.data_location = onnx.TensorProto.EXTERNAL
    far.external_data.add(key="location", value=named)
    model.graph.initializer.append(far)
    source = onnx_package(tmp_path / "source", model.SerializeToString(), [])
    (tmp_path / "secret").write_bytes(bytes(8))
    (source / "linked").symlink_to(tmp_path / "secret")

    with pytest.raises(InvalidError, match=r"'far' is kept in .*, which is no file of the package"):
        packed(source)


def test_a_tensor_in_a_file_beside_comes_in(tmp_path: Path) -> None:
    import onnx

    model = graph_model([onnx.helper.make_node("Add", ["x", "far"], ["variable"])])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1), "far"))
    source = onnx_package(tmp_path / "source", b"", [])
    onnx.save(
        model,
        source / "model.onnx",
        save_as_external_data=True,
        location="tensors.bin",
        size_threshold=0,
    )
    assert (source / "tensors.bin").exists()

    assert packed(source).parity is None

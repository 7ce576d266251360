"""A runtime is added by one entry of the registry, and served like any other."""

import typing
from pathlib import Path

import httpx
import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Column, ServingSpec
from loopwright_scorer.models.loaded_model import load
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.registry import RUNTIME_FORMATS, RuntimeFormat
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import ModelOutputs, TensorType
from tests.scorer.packages import SOURCE, write_spec
from tests.scorer.serving import serving


class AdderRuntime:
    """Adds to each value the number that its file has."""

    outputs = (TensorType("prediction", "FP64", (-1,)),)

    def __init__(self, path: Path) -> None:
        self._number = float(path.read_text())

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        return ModelOutputs(prediction=inputs.arrays["value"] + self._number)


def open_adder(package: ServingPackage) -> ModelRuntime:
    return AdderRuntime(package.file)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the format that the tests put a runtime of their own in for."""
    spec = ServingSpec(
        format="lightgbm",
        file="number.txt",
        task="regressor",
        columns=[Column(name="value", type="double")],
        source_digest=SOURCE,
    )
    directory = write_spec(tmp_path / "adder", spec)
    (directory / spec.file).write_text("1.5")
    return directory


def test_every_format_of_a_package_has_a_runtime() -> None:
    formats = typing.get_args(ServingSpec.model_fields["format"].annotation)
    assert set(formats) == set(RUNTIME_FORMATS)


def test_a_runtime_of_ones_own_is_served(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIME_FORMATS, "lightgbm", RuntimeFormat(open_adder, "adder_text"))
    tensor = {"name": "value", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}

    with serving({"adder": package}) as address, httpx.Client(base_url=f"http://{address}") as http:
        answer = http.post("/v2/models/adder/infer", json={"inputs": [tensor]}).json()
        about = http.get("/v2/models/adder").json()

    assert np.allclose(answer["outputs"][0]["data"], [2.5, 3.5])
    assert about["platform"] == "adder_text"


def test_an_engine_that_is_not_installed_names_its_extra(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = RuntimeFormat(open_adder, "adder_text", engine="no_such_engine", extra="adder")
    monkeypatch.setitem(RUNTIME_FORMATS, "lightgbm", absent)

    with pytest.raises(InvalidError, match=r"install loopwright-scorer\[adder\]"):
        load(package, "")


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("xgboost", "model.json"),
        ("lightgbm", "model.txt"),
        ("onnx", "model.onnx"),
        ("sklearn-skops", "model.skops"),
    ],
)
def test_a_damaged_file_is_refused_before_its_library_has_it(
    tmp_path: Path, format: typing.Any, file: str
) -> None:
    spec = ServingSpec(
        format=format,
        file=file,
        task="regressor",
        columns=[Column(name="value", type="double")],
        source_digest=SOURCE,
    )
    directory = write_spec(tmp_path / "damaged", spec)
    (directory / file).write_bytes(b"{}")

    with pytest.raises(InvalidError, match=f"{file} is damaged"):
        load(directory, "")

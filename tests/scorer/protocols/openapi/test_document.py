"""The description of each model: valid, and every request in it works as printed."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from tests.scorer.serving import serving

MODELS = ["bank", "pixels", "dates"]


@pytest.fixture(scope="module")
def http(
    package_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Generator[httpx.Client]:
    packages = {
        "bank": package_dirs["trained"],
        "pixels": package_dirs["summing"],
        "dates": dated(tmp_path_factory.mktemp("dates") / "package"),
    }
    with serving(packages) as at, httpx.Client(base_url=f"http://{at}") as client:
        yield client


def dated(directory: Path) -> Path:
    """A regressor over a truth value, beside a time and an optional text that it does not read."""
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.dummy import DummyRegressor
    from sklearn.pipeline import make_pipeline

    from loopwright_common.serving.spec import Column, ServingSpec
    from tests.scorer.packages import SOURCE, write_spec

    rows = pd.DataFrame({"at": np.array(["2026-01-01"], "M8[us]"), "on": [True], "note": ["x"]})
    columns = make_column_transformer(("passthrough", ["on"]))
    model = make_pipeline(columns, DummyRegressor()).fit(rows, [0.5])
    directory.mkdir(parents=True)
    skops.io.dump(model, directory / "model.skops")
    spec = ServingSpec(
        format="sklearn-skops",
        file="model.skops",
        task="regressor",
        columns=[
            Column(name="at", type="datetime"),
            Column(name="on", type="boolean"),
            Column(name="note", type="string", required=False),
        ],
        trusted=skops.io.get_untrusted_types(file=directory / "model.skops"),
        source_digest=SOURCE,
        example={"at": ["2026-01-01T10:00:00"], "on": [True], "note": [None]},
    )
    return write_spec(directory, spec)


def described(http: httpx.Client, path: str) -> dict[str, Any]:
    document: dict[str, Any] = http.get(f"{path}/openapi.json").json()
    return document


@pytest.mark.parametrize("model", MODELS)
def test_a_models_description_is_valid(http: httpx.Client, model: str) -> None:
    document = described(http, f"/models/{model}")

    validate(document)
    assert (document["info"]["title"], document["info"]["version"]) == (model, "3")


@pytest.mark.parametrize(
    "base", [*(f"/models/{model}" for model in MODELS), "/models/bank/versions/3"]
)
def test_every_example_is_of_its_schema_and_is_answered(http: httpx.Client, base: str) -> None:
    paths = described(http, base)["paths"]

    assert list(paths) == [f"/v2{base}/infer", f"{base}/invocations", f"/v1{base}:predict"]
    for path, operations in paths.items():
        asked = operations["post"]["requestBody"]["content"]["application/json"]
        jsonschema.validate(asked["example"], asked["schema"])
        answer = http.post(path, json=asked["example"])
        assert answer.status_code == 200, answer.text
        answered = operations["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), answered)


def test_columns_are_described_by_type_and_need(http: httpx.Client) -> None:
    operations = described(http, "/models/bank")["paths"]["/models/bank/invocations"]
    content = operations["post"]["requestBody"]["content"]["application/json"]
    row = content["schema"]["properties"]["dataframe_records"]["items"]

    assert row["required"] == ["age", "visits", "job"]
    assert row["properties"]["visits"] == {"type": "integer"}
    assert row["properties"]["balance"] == {"type": ["number", "null"]}
    assert content["example"] == {
        "dataframe_records": [{"age": 41.0, "visits": 2, "job": "clerk", "balance": 10.5}]
    }


def test_a_refusal_has_the_described_shape(http: httpx.Client) -> None:
    for path, operations in described(http, "/models/bank")["paths"].items():
        answer = http.post(path, json={})
        shape = operations["post"]["responses"]["400"]["content"]["application/json"]["schema"]
        assert answer.status_code == 400
        jsonschema.validate(answer.json(), shape)


def test_the_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/models/bank/docs")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in page.text


@pytest.mark.parametrize("path", ["/models/nobody/docs", "/models/nobody/openapi.json"])
def test_a_model_that_is_not_served_has_no_pages(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    assert answer.status_code == 404
    assert "served: bank, dates, pixels" in answer.json()["error"]

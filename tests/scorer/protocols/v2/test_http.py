"""Open Inference Protocol V2 in JSON, from outside."""

import json
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, infer_body

INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture
async def replica(harness: ScorerHarness) -> AsyncGenerator[Replica, None]:
    async with harness.replica(largest_inference=20_000) as replica:
        await harness.route(
            1, await harness.arm(1, "trained"), kept=[await harness.arm(7, "low", 0.0)]
        )
        await replica.serves(1)
        yield replica


def changed(name: str, /, **fields: Any) -> dict[str, Any]:
    """A request with one input changed."""
    body = infer_body(ROW)
    for given in body["inputs"]:
        if given["name"] == name:
            given.update(fields)
    return body


async def test_a_row_is_answered_with_label_probabilities_and_a_prediction_id(
    replica: Replica,
) -> None:
    answer = await replica.http.post(INFER, json=infer_body(ROW, id="mine"))

    content = answer.json()
    outputs = {output["name"]: output for output in content["outputs"]}
    assert (content["model_name"], content["model_version"], content["id"]) == (MODEL, "1", "mine")
    assert outputs["label"]["datatype"] == "BYTES"
    assert outputs["label"]["data"][0] in ("no", "yes")
    assert outputs["probabilities"]["shape"] == [1, 2]
    assert sum(outputs["probabilities"]["data"]) == pytest.approx(1, abs=1e-6)
    assert "-v1-" in answer.headers["loopwright-prediction-id"]


async def test_rows_may_be_sent_as_columns_of_one_and_nested(replica: Replica) -> None:
    flat = await replica.http.post(INFER, json=changed("age", data=[30.0]))
    nested = await replica.http.post(INFER, json=changed("age", shape=[1, 1], data=[[30.0]]))

    assert flat.json()["outputs"] == nested.json()["outputs"]


async def test_only_the_outputs_asked_for_are_sent(replica: Replica) -> None:
    asked = infer_body(ROW, outputs=[{"name": "label"}])

    answer = await replica.http.post(INFER, json=asked)

    assert [output["name"] for output in answer.json()["outputs"]] == ["label"]


async def test_missing_values_are_null_or_nan_or_left_out_where_optional(replica: Replica) -> None:
    row = {**ROW, "age": [None], "job": [None]}
    del row["balance"]
    as_null = await replica.infer(row)
    text = '{"name": "age", "datatype": "FP64", "shape": [1], "data": [NaN]}'
    others = infer_body({"visits": [2], "job": [None]})["inputs"]
    body = f'{{"inputs": [{text}, {str(others)[1:-1].replace("None", "null")}]}}'.replace("'", '"')
    as_nan = await replica.http.post(INFER, content=body)

    assert as_null.status_code == as_nan.status_code == 200
    assert as_null.json()["outputs"] == as_nan.json()["outputs"]


async def test_unknown_columns_are_ignored_and_named(replica: Replica) -> None:
    answer = await replica.infer({**ROW, "shoe size": ["43"]})

    assert answer.json()["parameters"] == {"ignored_inputs": "shoe size"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (changed("age", datatype="BYTES", data=["41"]), "'age': datatype BYTES: send FP64"),
        (changed("age", data=["41"]), "'age': value 0 is '41', which is no FP64"),
        (changed("age", data=[True]), "'age': value 0 is True"),
        (changed("age", shape=[2]), "'age': shape [2] needs 2 values, data has 1"),
        (changed("age", shape=[1, 2], data=[1, 2]), "'age': shape [1, 2]"),
        (changed("age", shape=[]), "'age': shape"),
        (changed("age", datatype="TEXT"), "'age': datatype 'TEXT'"),
        (changed("age", data=[1e300]), "'age': a value is beyond"),
        (changed("visits", data=[None]), "'visits': value 0 is null"),
        (changed("visits", data=[2.5]), "'visits': value 0 is 2.5"),
        (changed("visits", data=[2**63]), "'visits'"),
        (changed("job", name="work"), "no input 'job'; the model needs age (FP64)"),
        (changed("job", name="age"), "a name is given twice"),
        (infer_body(ROW, outputs=[{"name": "odds"}]), "no 'odds', only label, probabilities"),
        (infer_body(ROW, id=3), "id: give text"),
        ({"inputs": []}, "inputs: give a list"),
        ([], "the body: give a JSON object"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    replica: Replica, body: object, says: str
) -> None:
    answer = await replica.http.post(INFER, json=body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/v2/models/nobody/infer", 404, "no model 'nobody' is served here; served: bank"),
        ("POST", f"/v2/models/{MODEL}/versions/9/infer", 404, "no version 9 here, only 1, 7"),
        ("GET", f"/v2/models/{MODEL}/versions/x", 404, "versions are whole numbers"),
        ("GET", f"/v2/models/{MODEL}/nothing", 404, "no /v2/models/bank/nothing"),
        ("GET", "/v2/nothing", 404, "no /v2/nothing"),
        ("GET", INFER, 405, "use POST"),
        ("POST", "/v2/health/live", 405, "use GET"),
        ("GET", "/v2/logging", 501, "not served"),
        ("POST", f"/v2/models/{MODEL}/trace/setting", 501, "not served"),
        ("POST", "/v2/systemsharedmemory/status", 501, "not served"),
        ("POST", f"/v2/models/{MODEL}/generate", 501, "not served"),
    ],
)
async def test_every_refusal_has_the_protocols_shape(
    replica: Replica, method: str, path: str, status: int, says: str
) -> None:
    answer = await replica.http.request(method, path, json=infer_body(ROW) if "P" in method else 0)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


async def test_a_body_past_the_limit_is_refused(replica: Replica) -> None:
    answer = await replica.http.post(INFER, content=b" " * 30_000)

    assert answer.status_code == 413
    assert "LOOPWRIGHT_SCORER_LARGEST_" in answer.json()["error"]


async def test_another_sites_page_is_refused(replica: Replica) -> None:
    answer = await replica.http.get("/v2", headers={"origin": "https://example.org"})

    assert answer.status_code == 403
    assert "Origin" in answer.json()["error"]


async def test_a_model_that_raises_is_a_server_error(replica: Replica) -> None:
    answer = await replica.infer({**ROW, "visits": [500]}, f"/v2/models/{MODEL}/versions/7/infer")

    assert answer.status_code == 500
    assert "version 7 of bank failed" in answer.json()["error"]


async def test_metadata_says_inputs_outputs_classes_and_versions(replica: Replica) -> None:
    metadata = (await replica.http.get(f"/v2/models/{MODEL}")).json()

    assert metadata["versions"] == ["1", "7"]
    assert {"name": "job", "datatype": "BYTES", "shape": [-1]} in metadata["inputs"]
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ]
    assert metadata["parameters"]["classes"] == ["no", "yes"]
    assert metadata["parameters"]["version"] == "1"


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{MODEL}/ready",
        f"/v2/models/{MODEL}/versions/7/ready",
        f"/v2/models/{MODEL}/versions/7",
        "/livez",
        "/readyz",
        "/metrics",
    ],
)
async def test_health_and_metadata_answer(replica: Replica, path: str) -> None:
    assert (await replica.http.get(path)).status_code == 200


async def test_before_the_routes_are_read_the_replica_is_not_ready(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        answer = await replica.http.get("/v2/models/bank/ready")

    assert answer.status_code == 404
    assert "none yet" in answer.json()["error"]


def many(**columns: list[Any]) -> dict[str, Any]:
    """A body that is long enough for the parser of large ones."""
    rows = 400
    whole = {name: (columns.get(name) or data * rows)[:rows] for name, data in ROW.items()}
    body = infer_body(whole)
    assert len(str(body)) > 8192
    return body


async def test_rows_in_a_large_body_are_answered_as_in_small_ones(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "trained"))
        await replica.serves(1)
        ages = [18.5 + row % 60 for row in range(400)]
        visits = [row % 9 for row in range(400)]
        answer = await replica.http.post(INFER, json=many(age=ages, visits=visits))
        single = [
            await replica.infer({**ROW, "age": [ages[row]], "visits": [visits[row]]})
            for row in (0, 7, 399)
        ]

    probabilities = answer.json()["outputs"][1]["data"]
    for row, one in zip((0, 7, 399), single, strict=True):
        assert one.json()["outputs"][1]["data"] == pytest.approx(
            probabilities[2 * row : 2 * row + 2], abs=1e-6
        )


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"age": [1.0] * 399 + ["x"]}, "input 'age': value 399 is 'x', which is no FP64"),
        ({"age": [1.0] * 399 + [True]}, "value 399 is True, which is no FP64"),
        ({"visits": [1] * 399 + [1.5]}, "input 'visits': value 399 is 1.5, which is no INT64"),
        ({"visits": [1] * 399 + [None]}, "INT64 has no missing value"),
        ({"visits": [1] * 399 + [2**63]}, "input 'visits': "),
        ({"job": ["clerk"] * 399 + [3]}, "value 399 is 3, which is no BYTES"),
    ],
)
async def test_what_is_wrong_in_a_large_body_is_named_as_in_a_small_one(
    harness: ScorerHarness, columns: dict[str, list[Any]], says: str
) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        answer = await replica.http.post(INFER, json=many(**columns))

    assert answer.status_code == 400
    assert says in answer.json()["error"]


async def test_missing_numbers_of_a_large_body_are_null_or_nan(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "trained"))
        await replica.serves(1)
        null = await replica.http.post(INFER, json=many(age=[None] + [41.0] * 399))
        body = json.dumps(many(age=[math.nan] + [41.0] * 399))
        nan = await replica.http.post(INFER, content=body)

    assert nan.status_code == 200
    assert nan.json()["outputs"] == null.json()["outputs"]

"""KServe's protocol V1, from outside."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness

PREDICT = f"/v1/models/{MODEL}:predict"
VALUES = [column[0] for column in ROW.values()]
NAMED = {name: column[0] for name, column in ROW.items()}


@pytest.fixture
async def replica(harness: ScorerHarness) -> AsyncGenerator[Replica, None]:
    async with harness.replica() as replica:
        await harness.route(
            1, await harness.arm(1, "low"), kept=[await harness.arm(7, "high", 0.0)]
        )
        await replica.serves(1)
        yield replica


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [VALUES, VALUES]},
        {"instances": [NAMED, NAMED]},
        {"inputs": [VALUES, VALUES]},
        {"inputs": {name: column * 2 for name, column in ROW.items()}},
        {"instances": [NAMED, {**NAMED, "balance": None, "shoe": 43}]},
    ],
)
async def test_rows_as_lists_as_objects_and_as_columns_are_answered(
    replica: Replica, body: dict[str, Any]
) -> None:
    answer = await replica.http.post(PREDICT, json=body)

    assert answer.json() == {"predictions": ["no", "no"]}
    assert "-v1-" in answer.headers["loopwright-prediction-id"]


async def test_a_version_may_be_named_in_the_path(replica: Replica) -> None:
    answer = await replica.http.post(
        f"/v1/models/{MODEL}/versions/7:predict", json={"instances": [VALUES]}
    )

    assert answer.json() == {"predictions": ["yes"]}


async def test_tensors_are_rows_of_nested_lists(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "summing"))
        await replica.serves(1)

        given = {"instances": [[[1, 2], [3, 4]], [[0, 0], [0, 0.5]]]}
        answer = await replica.http.post(PREDICT, json=given)

        assert answer.json() == {"predictions": [10.0, 0.5]}


async def test_models_are_listed_and_told_ready(replica: Replica) -> None:
    one = await replica.http.get(f"/v1/models/{MODEL}")
    every = await replica.http.get("/v1/models")

    assert one.json() == {"name": MODEL, "ready": True}
    assert every.json()["models"] == [MODEL]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (PREDICT, {}, 400, "instances"),
        (PREDICT, {"instances": []}, 400, "no rows"),
        (PREDICT, {"instances": 5}, 400, "a list of rows"),
        (PREDICT, {"instances": [VALUES], "inputs": [VALUES]}, 400, "a list of rows"),
        (PREDICT, {"instances": [VALUES[:2]]}, 400, "4 values per row, in the order age, visits"),
        (PREDICT, {"instances": [VALUES, 5]}, 400, "4 values per row"),
        (PREDICT, {"instances": [{**NAMED, "age": "old"}]}, 400, "'age': value 0 is 'old'"),
        (PREDICT, {"instances": [{"shoe": 43}]}, 400, "no input is known; the model needs age"),
        (PREDICT, {"inputs": {**ROW, "age": [1.0, 2.0]}}, 400, "shape [1]: every input"),
        (PREDICT, {"inputs": {**ROW, "age": 5}}, 400, "'age': give a list"),
        ("/v1/models/nobody:predict", {"instances": [VALUES]}, 404, "served: bank"),
        (f"/v1/models/{MODEL}:explain", {"instances": [VALUES]}, 501, "only :predict"),
        (f"/v1/models/{MODEL}/x/y", {}, 404, ":predict"),
        (f"/v1/models/{MODEL}", {}, 405, "use GET"),
    ],
)
async def test_what_is_refused_has_the_protocols_shape(
    replica: Replica, path: str, body: object, status: int, says: str
) -> None:
    answer = await replica.http.post(path, json=body)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert says in answer.json()["error"]

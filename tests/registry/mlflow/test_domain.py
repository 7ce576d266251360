"""Text that cannot be kept is refused before any database sees it."""

import json
from typing import Any

import httpx
import pytest

from tests.registry.builders import (
    call,
    send,
)


@pytest.mark.parametrize("text", ["a\0b", "half \ud800 pair"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("experiments/create", "name"), ("registered-models/create", "name"),
        ("runs/search", "filter"), ("runs/create", "run_name"), ("runs/log-parameter", "value"),
    ],
)  # fmt: skip
async def test_text_that_no_database_keeps_is_refused(
    client: httpx.AsyncClient, path: str, field: str, text: str
) -> None:
    body = json.dumps({"run_id": "r", "key": "k", field: text})

    answer = await client.post(
        f"/api/2.0/mlflow/{path}", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert field in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["/v1/models/a%00b/versions", "/v1/events?model=%00", "/v1/why/a%00/1"]
)
async def test_a_name_with_a_nul_is_refused_by_the_native_api(
    client: httpx.AsyncClient, path: str
) -> None:
    assert (await client.get(path)).status_code == 422


TOO_LONG = [
    ("runs/create", {"user_id": "x" * 257}),
    ("runs/create", {"tags": [{"key": "x" * 251, "value": ""}]}),
    ("experiments/create", {"name": "e", "tags": [{"key": "x" * 251, "value": ""}]}),
    ("experiments/create", {"name": "e", "artifact_location": "mlflow-artifacts:/" + "x" * 500}),
    ("logged-models", {"experiment_id": "0", "name": "x" * 501}),
    ("logged-models", {"experiment_id": "0", "model_type": "x" * 501}),
    ("model-versions/create", {"name": "m", "source": "mlflow-artifacts:/x", "run_id": "x" * 257}),
]


@pytest.mark.parametrize(("path", "body"), TOO_LONG)
async def test_what_is_too_long_is_refused_alike_on_both_databases(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    await call(client, "POST", "registered-models/create", name="m")

    answer = await send(client, "POST", path, **body)

    assert answer.status_code == 400, answer.text
    assert len(answer.json()["message"]) < 400

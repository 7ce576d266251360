"""Whatever a client may name a place by, it is in our store or it is refused."""

import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.registry.builders import call, send

Body = Callable[[str], tuple[str, dict[str, Any]]]
FIELDS: dict[str, Body] = {
    "a version's source": lambda uri: ("model-versions/create", {"name": "m", "source": uri}),
    "a version's source beside tags": lambda uri: (
        "model-versions/create",
        {
            "name": "m",
            "source": uri,
            "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}],
        },
    ),
    "an experiment's location": lambda uri: (
        "experiments/create",
        {"name": "e", "artifact_location": uri},
    ),
}
ELSEWHERE = [
    *("file:///etc/passwd", "file:/etc", "FILE:///etc", "/etc/passwd", "etc", "./x", "../../x"),
    *(
        "http://127.0.0.1:1/x",
        "https://evil.test/x",
        "ftp://evil.test/x",
        "sftp://h/x",
        "hdfs://h/x",
    ),
    *("dbfs:/x", "s3://bucket/x", "gs://bucket/x", "wasbs://c@a/x", "abfss://c@a/x", "r2://b@a/x"),
    *("runs:/../../etc", "runs:/", "models:/", "models:/m/latest", "models:/m/../../x"),
    *("mlflow-artifacts:/../x", "mlflow-artifacts:/%2e%2e/x", "mlflow-artifacts:/%252e%252e/x"),
    *("mlflow-artifacts://evil.test/x", "mlflow-artifacts:///etc/passwd", "mlflow-artifacts:x"),
    *(
        "mlflow-artifacts:/a/%2e%2e%2f%2e%2e/x",
        "mlflow-artifacts:/a\\..\\x",
        "mlflow-artifacts:/c:/x",
    ),
    *(
        "mlflow-artifacts:/a\nfile:///etc",
        "file:///etc\nmlflow-artifacts:/a",
        "mlflow-artifacts:/a\r",
    ),
    *(
        "mlflow-artifacts:/a?x=/etc",
        "mlflow-artifacts:/a#/../x",
        "mlflow-artifacts:/a%00",
        " file:/x",
    ),
    *("mlflow-artifacts:/a\u2028b", "mlflow-artifacts:/\x1b[2J", "MLFLOW-ARTIFACTS:/a", "//h/x"),
]


def mixed(count: int) -> list[str]:
    """Schemes, roots, climbs and endings put together, each encoded up to twice."""
    chance = random.Random(13)  # noqa: S311
    made = []
    for _ in range(count):
        scheme = chance.choice(["file:", "http:", "mlflow-artifacts:", "runs:", "s3:", "", "dbfs:"])
        root = chance.choice(["/", "//", "///", "", "/a/"])
        climb = chance.choice(["..", "%2e%2e", "%252e%252e", ".%2e", "..%2f..", "..\\..", "%5c.."])
        ending = chance.choice(["/etc/passwd", "/x\n", "?x", "#x", "", "/%00"])
        made.append(scheme + root + climb + ending)
    return made


@pytest.fixture
async def model(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await call(client, "POST", "registered-models/create", name="m")
    return client


@pytest.mark.parametrize("field", FIELDS)
async def test_locations_are_ours(model: httpx.AsyncClient, field: str) -> None:
    taken = {}
    for uri in ELSEWHERE + mixed(300):
        path, body = FIELDS[field](uri)
        answer = await send(model, "POST", path, **body)
        if answer.status_code != 400 or answer.json()["error_code"] != "INVALID_PARAMETER_VALUE":
            taken[uri] = answer.text
    assert taken == {}


async def test_locations_of_ours_are_taken(model: httpx.AsyncClient) -> None:
    await call(
        model, "POST", "experiments/create", name="own", artifact_location="mlflow-artifacts:/own"
    )
    run = await call(model, "POST", "runs/create", experiment_id="0")
    run_id = run["run"]["info"]["run_id"]
    for source in (f"runs:/{run_id}/package", "mlflow-artifacts:/own/package"):
        await call(model, "POST", "model-versions/create", name="m", source=source)
    uri = await call(model, "GET", "model-versions/get-download-uri", name="m", version="2")
    assert uri["artifact_uri"] == "mlflow-artifacts:/own/package"


@pytest.mark.parametrize(
    "name", ["two\nlines", "%2e%2e", "%252e%252e", "a%2fb", "a%0ab", "\x1b[2J"]
)
async def test_names_that_mean_something_else_elsewhere_are_refused(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await send(client, "POST", "registered-models/create", name=name)
    assert answer.status_code == 400
    if "%" not in name:
        answer = await send(client, "POST", "experiments/create", name=name)
        assert answer.status_code == 400

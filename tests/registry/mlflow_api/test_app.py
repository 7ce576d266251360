"""MLflow's app: its prefixes and what it answers for what is missing."""

import httpx

from tests.registry.builders import error


async def test_missing_things_and_endpoints_have_their_codes(client: httpx.AsyncClient) -> None:
    missing = (404, "RESOURCE_DOES_NOT_EXIST")

    assert await error(client, "GET", "experiments/get-by-name", experiment_name="x") == missing
    assert await error(client, "GET", "runs/get", run_id="x") == missing
    assert await error(client, "GET", "no/such/endpoint") == (404, "ENDPOINT_NOT_FOUND")
    assert (await client.get("/v1/models/x/versions/1")).headers["content-type"] == (
        "application/problem+json"
    )


async def test_both_prefixes_health_and_server_info_answer(client: httpx.AsyncClient) -> None:
    default = await client.get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0")

    assert default.json()["experiment"]["name"] == "Default"
    assert (await client.get("/health")).text == "OK"
    info = (await client.get("/api/3.0/mlflow/server-info")).json()
    assert info["multipart_uploads_enabled"] is False

"""MLflow's JSON rules and odd codes, which its clients rely on."""

import httpx
import pytest

from tests.registry.builders import API, call, new_run

JSON = "application/json"


async def test_unset_fields_are_left_out_and_integers_are_numbers(
    client: httpx.AsyncClient,
) -> None:
    run_id = await new_run(client)

    run = (await call(client, "GET", "runs/get", run_id=run_id))["run"]

    assert run["info"]["start_time"] == 1_700_000_000_000
    assert "end_time" not in run["info"]
    assert "metrics" not in run["data"]
    assert "next_page_token" not in await call(client, "POST", "runs/search", experiment_ids=["0"])


async def test_nan_and_infinities_travel_as_mlflow_writes_them(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)
    for key, value in (("odd", "NaN"), ("big", "Infinity")):
        await call(
            client, "POST", "runs/log-metric",
            run_uuid=run_id, key=key, value=value, timestamp="1",
        )  # fmt: skip

    data = (await call(client, "GET", "runs/get", run_id=run_id))["run"]["data"]

    values = {metric["key"]: metric["value"] for metric in data["metrics"]}
    assert values == {"odd": "NaN", "big": 1.7976931348623157e308}


async def test_camel_case_null_and_text_integers_are_understood(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)

    await call(
        client, "POST", "runs/update", runId=run_id, status="FINISHED", endTime="5", runName=None
    )

    info = (await call(client, "GET", "runs/get", runId=run_id))["run"]["info"]
    assert (info["status"], info["end_time"]) == ("FINISHED", 5)


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"{nonsense", JSON, 400),
        (b"[]", JSON, 400),
        (b'"{}"', JSON, 400),
        (b'{"run_name": NaN}', JSON, 400),
        (b'{"run_name": "a", "run_name": "b"}', JSON, 400),
        (b'{"tags": ' + b"[" * 100 + b"]" * 100 + b"}", JSON, 400),
        (b"\xff", JSON, 400),
        (b'{"run_name": "a"}', "text/plain", 415),
        (b"run_name=a", "application/x-www-form-urlencoded", 415),
        (b'{"run_name": "a"}', None, 415),
    ],
)
@pytest.mark.parametrize("api", [API, API.replace("/api/", "/ajax-api/")])
async def test_a_body_that_is_no_json_makes_no_run(
    client: httpx.AsyncClient, api: str, content: bytes, media: str | None, status: int
) -> None:
    headers = {"content-type": media} if media else {}
    answer = await client.post(f"{api}/runs/create", content=content, headers=headers)

    assert answer.status_code == status
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    found = await call(client, "POST", "runs/search", experiment_ids=["0"])
    assert found.get("runs", []) == []


async def test_no_body_is_an_empty_one(client: httpx.AsyncClient) -> None:
    created = await client.post(f"{API}/runs/create")
    unnamed = await client.post(f"{API}/experiments/create")

    assert created.status_code == 200
    assert unnamed.json()["message"] == "Missing value for required parameter 'name'."


async def test_a_batch_and_a_datasets_profile_may_be_larger_than_other_requests(
    client: httpx.AsyncClient,
) -> None:
    run_id = await new_run(client)
    long = "x" * (2 << 20)
    dataset = {"name": "d", "digest": "1", "source_type": "s", "source": "s", "profile": long}

    await call(client, "POST", "runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset}])
    refused = await client.post(f"{API}/runs/create", json={"run_name": long})

    assert refused.status_code == 413
    assert refused.json()["error_code"] == "INVALID_PARAMETER_VALUE"

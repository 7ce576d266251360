"""MLflow's JSON rules and odd codes, which its clients rely on."""

import httpx

from tests.registry.builders import API, call, new_run


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


async def test_a_body_that_is_no_json_counts_as_empty(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{API}/experiments/create", content=b"{nonsense")

    assert answer.status_code == 400
    assert answer.json() == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "Missing value for required parameter 'name'.",
    }

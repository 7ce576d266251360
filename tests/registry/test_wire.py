"""MLflow's JSON rules and odd codes, which its clients rely on."""

import httpx

from tests.registry.builders import API, call, error, new_run, send


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


async def test_a_taken_name_is_a_400(client: httpx.AsyncClient) -> None:
    taken = (400, "RESOURCE_ALREADY_EXISTS")
    await call(client, "POST", "experiments/create", name="e")
    await call(client, "POST", "registered-models/create", name="m")

    assert await error(client, "POST", "experiments/create", name="e") == taken
    assert await error(client, "POST", "registered-models/create", name="m") == taken


async def test_an_unknown_alias_is_a_400_of_a_known_model_and_a_404_of_an_unknown(
    client: httpx.AsyncClient,
) -> None:
    await call(client, "POST", "registered-models/create", name="m")

    known = await error(client, "GET", "registered-models/alias", name="m", alias="champion")
    unknown = await error(client, "GET", "registered-models/alias", name="x", alias="champion")

    assert known == (400, "INVALID_PARAMETER_VALUE")
    assert unknown == (404, "RESOURCE_DOES_NOT_EXIST")


async def test_missing_things_and_endpoints_have_their_codes(client: httpx.AsyncClient) -> None:
    missing = (404, "RESOURCE_DOES_NOT_EXIST")

    assert await error(client, "GET", "experiments/get-by-name", experiment_name="x") == missing
    assert await error(client, "GET", "runs/get", run_id="x") == missing
    assert await error(client, "GET", "no/such/endpoint") == (404, "ENDPOINT_NOT_FOUND")
    assert (await client.get("/v1/models/x/versions/1")).headers["content-type"] == (
        "application/problem+json"
    )


async def test_a_parameter_never_changes_and_repeating_it_is_fine(
    client: httpx.AsyncClient,
) -> None:
    run_id = await new_run(client)
    for _ in range(2):
        await call(client, "POST", "runs/log-parameter", run_id=run_id, key="a", value="1")

    answer = await send(client, "POST", "runs/log-parameter", run_id=run_id, key="a", value="2")

    assert answer.status_code == 400
    assert "Changing param values is not allowed" in answer.json()["message"]


async def test_the_same_metric_point_twice_is_one_row(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)
    points = [
        {"key": "m", "value": value, "timestamp": 1, "step": step}
        for value, step in ((0.5, 2), (0.7, 1), (0.5, 2))
    ]
    for _ in range(2):
        await call(client, "POST", "runs/log-batch", run_id=run_id, metrics=points)

    history = await call(client, "GET", "metrics/get-history", run_id=run_id, metric_key="m")
    run = (await call(client, "GET", "runs/get", run_id=run_id))["run"]

    assert [point["value"] for point in history["metrics"]] == [0.7, 0.5]
    assert [metric["value"] for metric in run["data"]["metrics"]] == [0.5]


async def test_a_batch_is_all_or_nothing(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)
    params = [{"key": "good", "value": "1"}, {"key": "../bad", "value": "1"}]

    found = await error(client, "POST", "runs/log-batch", run_id=run_id, params=params)

    run = (await call(client, "GET", "runs/get", run_id=run_id))["run"]
    assert found == (400, "INVALID_PARAMETER_VALUE")
    assert "params" not in run["data"]


async def test_a_deleted_run_is_read_only(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)
    await call(client, "POST", "runs/delete", run_id=run_id)

    found = await error(client, "POST", "runs/set-tag", run_id=run_id, key="a", value="b")

    assert found == (400, "INVALID_PARAMETER_VALUE")
    assert "runs" not in await call(client, "POST", "runs/search", experiment_ids=["0"])


async def test_the_runs_of_a_deleted_experiment_go_and_come_back_with_it(
    client: httpx.AsyncClient,
) -> None:
    found = await call(client, "POST", "experiments/create", name="e")
    at = {"experiment_id": found["experiment_id"]}
    await call(client, "POST", "runs/create", **at)
    ids, stages = [found["experiment_id"]], []
    for move in ("delete", "restore"):
        await call(client, "POST", f"experiments/{move}", **at)
        active = await call(client, "POST", "runs/search", experiment_ids=ids)
        stages.append(len(active.get("runs", [])))

    assert stages == [0, 1]


async def test_pages_follow_each_other_and_bad_tokens_are_refused(
    client: httpx.AsyncClient,
) -> None:
    for name in "abc":
        await call(client, "POST", "registered-models/create", name=name)

    first = await call(client, "GET", "registered-models/search", max_results=2)
    second = await call(
        client, "GET", "registered-models/search",
        max_results=2, page_token=first["next_page_token"],
    )  # fmt: skip
    bad = await error(client, "GET", "registered-models/search", page_token="x")
    none = await error(client, "GET", "registered-models/search", max_results=0)

    names = [m["name"] for page in (first, second) for m in page["registered_models"]]
    assert names == ["a", "b", "c"]
    assert "next_page_token" not in second
    assert bad == none == (400, "INVALID_PARAMETER_VALUE")


async def test_both_prefixes_health_and_server_info_answer(client: httpx.AsyncClient) -> None:
    default = await client.get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0")

    assert default.json()["experiment"]["name"] == "Default"
    assert (await client.get("/health")).text == "OK"
    info = (await client.get("/api/3.0/mlflow/server-info")).json()
    assert info["multipart_uploads_enabled"] is False

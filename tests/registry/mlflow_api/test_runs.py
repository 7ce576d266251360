"""What is logged to a run: once, whole, and only while the run is there."""

import httpx

from tests.registry.builders import call, error, new_run, send


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

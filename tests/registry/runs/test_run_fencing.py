"""Only the newest attempt of a pipeline run writes to its MLflow run; everyone reads it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.registry.builders import API, FILES, call, hold_run, new_run, packaged_run, send

FIRST, SECOND = ({"Authorization": f"Bearer {token}"} for token in ("first", "second"))


@pytest.fixture
async def run_id(client: httpx.AsyncClient) -> str:
    """A run with a package and a logged model, held by the second attempt."""
    run_id = await packaged_run(client)
    assert (await hold_run(client, run_id, "first", 1)).status_code == 200
    assert (await hold_run(client, run_id, "second", 2)).status_code == 200
    return run_id


@pytest.mark.parametrize("attempt", [1, 2])
async def test_an_attempt_that_is_not_newer_does_not_get_the_run(
    client: httpx.AsyncClient, run_id: str, attempt: int
) -> None:
    answer = await hold_run(client, run_id, "third", attempt)

    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"attempt 2 holds run {run_id}")
    assert (await send(client, "POST", "runs/set-tag", SECOND, **tag(run_id))).status_code == 200


@pytest.mark.parametrize(
    ("run_id", "body", "status"),
    [
        ("nowhere", {"sha256": "0" * 64, "attempt": 1}, 404),
        ("nowhere", {"sha256": "x", "attempt": 1}, 422),
        ("nowhere", {"sha256": "0" * 64, "attempt": -1}, 422),
        ("nowhere", {"sha256": "0" * 64}, 422),
        ("nul%00", {"sha256": "0" * 64, "attempt": 1}, 422),
    ],
)
async def test_a_bad_token_is_refused_with_a_problem(
    client: httpx.AsyncClient, run_id: str, body: dict[str, Any], status: int
) -> None:
    answer = await client.put(f"/v1/runs/{run_id}/token", json=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def tag(run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "key": "k", "value": "v"}


def writes(run_id: str) -> Mapping[str, tuple[str, str, dict[str, Any]]]:
    """Every way to change a run, by what it is."""
    run = {"run_id": run_id}
    metric = {"key": "m", "value": 1.0, "timestamp": 1}
    at = f"{FILES}/0/{run_id}/artifacts"
    return {
        "tag": ("POST", f"{API}/runs/set-tag", tag(run_id)),
        "no tag": ("POST", f"{API}/runs/delete-tag", {**run, "key": "mlflow.runName"}),
        "metric": ("POST", f"{API}/runs/log-metric", {**run, **metric}),
        "parameter": ("POST", f"{API}/runs/log-parameter", tag(run_id)),
        "batch": ("POST", f"{API}/runs/log-batch", {**run, "metrics": [metric]}),
        "end": ("POST", f"{API}/runs/update", {**run, "status": "FINISHED"}),
        "inputs": ("POST", f"{API}/runs/log-inputs", {**run, "models": [{"model_id": "m-1"}]}),
        "outputs": ("POST", f"{API}/runs/outputs", {**run, "models": [{"model_id": "m-1"}]}),
        "logged model": (
            "POST", f"{API}/logged-models", {"experiment_id": "0", "source_run_id": run_id},
        ),
        "version of the run": (
            "POST", f"{API}/model-versions/create",
            {"name": "m", "source": f"runs:/{run_id}/package"},
        ),
        "version of its files": (
            "POST", f"{API}/model-versions/create",
            {"name": "m", "source": f"mlflow-artifacts:/0/{run_id}/artifacts/package"},
        ),
        "version that names it": (
            "POST", f"{API}/model-versions/create",
            {"name": "m", "source": "mlflow-artifacts:/elsewhere", "run_id": run_id},
        ),
        "file": ("PUT", f"{at}/new.txt", {}),
        "no file": ("DELETE", f"{at}/package/MLmodel", {}),
        "no files": ("DELETE", f"{FILES}/0", {}),
        "delete": ("POST", f"{API}/runs/delete", run),
        "restore": ("POST", f"{API}/runs/restore", run),
    }  # fmt: skip


@pytest.mark.parametrize("what", writes("r"))
async def test_a_superseded_attempt_changes_nothing_of_the_run(
    client: httpx.AsyncClient, run_id: str, what: str
) -> None:
    await call(client, "POST", "registered-models/create", name="m")
    method, path, body = writes(run_id)[what]
    before = await seen(client, run_id)

    for headers in (FIRST, {}):
        refused = await client.request(method, path, json=body, headers=headers)
        assert refused.status_code == 403, refused.text
        assert refused.json() == {
            "error_code": "PERMISSION_DENIED",
            "message": f"run {run_id} belongs to a newer attempt; this attempt was superseded",
        }
    assert await seen(client, run_id) == before
    done = await client.request(method, path, json=body, headers=SECOND)
    assert done.status_code == 200, done.text


async def seen(client: httpx.AsyncClient, run_id: str) -> object:
    """The run, its files, logged models and versions."""
    files = await client.get(FILES, params={"path": f"0/{run_id}/artifacts"})
    logged = await call(client, "POST", "logged-models/search", experiment_ids=["0"])
    versions = (await client.get("/v1/models/m/versions")).json()
    return await call(client, "GET", "runs/get", run_id=run_id), files.json(), logged, versions


async def test_a_logged_model_is_its_runs(client: httpx.AsyncClient, run_id: str) -> None:
    made = await send(
        client, "POST", "logged-models", SECOND, experiment_id="0", source_run_id=run_id
    )
    info = made.json()["model"]["info"]
    at = f"{API}/logged-models/{info['model_id']}"
    artifacts = info["artifact_uri"].removeprefix("mlflow-artifacts:/")

    for method, path, body in (
        ("PATCH", at, {"status": "LOGGED_MODEL_READY"}),
        ("PATCH", f"{at}/tags", {"tags": [{"key": "a", "value": "b"}]}),
        ("POST", f"{at}/params", {"params": [{"key": "a", "value": "b"}]}),
        ("PUT", f"{FILES}/{artifacts}/MLmodel", {}),
        ("DELETE", at, {}),
    ):
        refused = await client.request(method, path, json=body, headers=FIRST)
        done = await client.request(method, path, json=body, headers=SECOND)
        assert (refused.status_code, done.status_code) == (403, 200), (method, path)


async def test_a_run_that_nobody_holds_is_open(client: httpx.AsyncClient, run_id: str) -> None:
    other = await new_run(client)

    for headers in (FIRST, {}):
        assert (
            await send(client, "POST", "runs/set-tag", headers, **tag(other))
        ).status_code == 200


@pytest.mark.parametrize("what", sorted({*writes("r")} - {"no files"}))
async def test_an_attempt_writes_to_its_own_runs_only(
    client: httpx.AsyncClient, run_id: str, what: str
) -> None:
    other = await packaged_run(client)
    await call(client, "POST", "registered-models/create", name="m")
    method, path, body = writes(other)[what]

    refused = await client.request(method, path, json=body, headers=SECOND)

    assert refused.json() == {
        "error_code": "PERMISSION_DENIED",
        "message": f"run {other} is not of this attempt, which writes to its own runs",
    }
    done = await client.request(method, path, json=body)
    assert done.status_code == 200, done.text


async def test_a_run_that_an_attempt_makes_is_its_own(
    client: httpx.AsyncClient, run_id: str
) -> None:
    made = await call(client, "POST", "runs/create", SECOND, experiment_id="0")
    nested = made["run"]["info"]["run_id"]

    assert (await send(client, "POST", "runs/set-tag", SECOND, **tag(nested))).status_code == 200
    for headers in (FIRST, {}):
        refused = await send(client, "POST", "runs/set-tag", headers, **tag(nested))
        assert refused.status_code == 403


async def test_a_sealed_version_is_copied_without_the_runs_token(
    client: httpx.AsyncClient, run_id: str
) -> None:
    for name in ("m", "copy"):
        await call(client, "POST", "registered-models/create", name=name)
    source = f"runs:/{run_id}/package"
    await call(client, "POST", "model-versions/create", SECOND, name="m", source=source)

    copied = await call(
        client, "POST", "model-versions/create", name="copy", source="models:/m/1", run_id=run_id
    )

    assert copied["model_version"]["status"] == "READY"


@pytest.fixture
async def experiment(client: httpx.AsyncClient) -> str:
    """An experiment with a run that has ended, of nobody."""
    made = await call(client, "POST", "experiments/create", name="e")
    run_id = await run_in(client, made["experiment_id"])
    await call(client, "POST", "runs/update", run_id=run_id, status="FINISHED")
    return str(made["experiment_id"])


async def run_in(client: httpx.AsyncClient, experiment: str, **headers: str) -> str:
    """A run of a pipeline run."""
    tags = [{"key": "loopwright.pipeline_run", "value": "p-1"}]
    made = await call(
        client, "POST", "runs/create", headers, experiment_id=experiment, tags=tags, start_time=1
    )
    return str(made["run"]["info"]["run_id"])


@pytest.mark.parametrize("what", ["delete", "restore"])
@pytest.mark.parametrize("headers", [SECOND, FIRST, {}])
async def test_an_experiment_with_an_attempt_under_way_is_neither_deleted_nor_restored(
    client: httpx.AsyncClient, experiment: str, what: str, headers: dict[str, str]
) -> None:
    run_id = await run_in(client, experiment)
    await hold_run(client, run_id, "first", 1)
    await call(client, "POST", "runs/update", FIRST, run_id=run_id, status="FAILED", end_time=1)
    await hold_run(client, run_id, "second", 2)
    before = await in_experiment(client, experiment)

    refused = await send(client, "POST", f"experiments/{what}", headers, experiment_id=experiment)

    assert refused.status_code == (403 if headers is SECOND else 409), refused.text
    assert "attempt" in refused.json()["message"]
    if headers is not SECOND:
        assert f"attempt 2 of run {run_id}" in refused.json()["message"]
    assert await in_experiment(client, experiment) == before


async def in_experiment(client: httpx.AsyncClient, experiment: str) -> object:
    found = await call(client, "GET", "experiments/get", experiment_id=experiment)
    runs = await call(
        client, "POST", "runs/search", experiment_ids=[experiment], run_view_type="ALL"
    )
    return found, runs


async def test_an_experiment_whose_attempts_have_ended_is_deleted_and_restored(
    client: httpx.AsyncClient, experiment: str
) -> None:
    run_id = await run_in(client, experiment)
    await hold_run(client, run_id, "first", 1)
    nested = await call(client, "POST", "runs/create", FIRST, experiment_id=experiment)
    await call(client, "POST", "runs/update", FIRST, run_id=run_id, status="FINISHED")
    assert nested["run"]["info"]["status"] == "RUNNING"  # as a stage leaves it that is killed

    for what in ("delete", "restore", "delete"):
        await call(client, "POST", f"experiments/{what}", experiment_id=experiment)
    late = await hold_run(client, run_id, "second", 2)

    assert late.status_code == 422
    assert "must be in the 'active' state" in late.json()["detail"]


async def test_of_a_deletion_and_an_attempt_at_once_one_is_refused(
    client: httpx.AsyncClient, experiment: str
) -> None:
    run_ids = [await run_in(client, experiment) for _ in range(4)]
    deleting = send(client, "POST", "experiments/delete", experiment_id=experiment)
    holding = [hold_run(client, run_id, "first", 1) for run_id in run_ids]

    *held, deleted = await asyncio.gather(*holding, deleting)

    taken = [answer.status_code == 200 for answer in held]
    assert deleted.status_code == (409 if any(taken) else 200)
    stage = (await call(client, "GET", "experiments/get", experiment_id=experiment))["experiment"]
    assert stage["lifecycle_stage"] == ("active" if any(taken) else "deleted")


@pytest.mark.parametrize(("operation", "more"), [("delete-tag", {}), ("set-tag", {"value": "p-2"})])
async def test_whose_run_it_is_stays(
    client: httpx.AsyncClient, experiment: str, operation: str, more: dict[str, str]
) -> None:
    """So that no stage takes its run from the pipeline run that its versions wait for."""
    run_id = await run_in(client, experiment)
    await hold_run(client, run_id, "first", 1)
    named = {"run_id": run_id, "key": "loopwright.pipeline_run"}

    refused = await send(client, "POST", f"runs/{operation}", FIRST, **named, **more)

    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    again = await send(client, "POST", "runs/set-tag", FIRST, **named, value="p-1")
    assert again.status_code == 200


async def test_of_two_attempts_at_once_the_older_writes_nothing_after_the_newer_came(
    client: httpx.AsyncClient,
) -> None:
    run_id = await new_run(client)
    await hold_run(client, run_id, "first", 1)

    async def log(step: int) -> bool:
        point = {"key": "m", "value": float(step), "timestamp": 1, "step": step}
        answer = await send(client, "POST", "runs/log-metric", FIRST, run_id=run_id, **point)
        return answer.status_code == 200

    early = [asyncio.create_task(log(step)) for step in range(10)]
    assert (await hold_run(client, run_id, "second", 2)).status_code == 200
    history = await call(client, "GET", "metrics/get-history", run_id=run_id, metric_key="m")
    written = await asyncio.gather(*early)

    later = await call(client, "GET", "metrics/get-history", run_id=run_id, metric_key="m")
    assert len(later.get("metrics", [])) == sum(written)
    assert later == history

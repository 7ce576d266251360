"""A version is sealed once, and `model-registered` leaves with the seal."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopwright_common.database.database import Database
from loopwright_common.observability.metrics import Metrics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import fetch_package
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.main import build_app
from loopwright_registry.mlflow.endpoint import MlflowContext
from tests.registry.builders import (
    CAUSE,
    CAUSE_HEADER,
    MLMODEL,
    call,
    emitted,
    error,
    new_run,
    packaged_run,
    register,
    send,
    upload,
)


async def test_a_sealed_version_is_announced_with_its_package(
    client: httpx.AsyncClient, database: Database, store: FilesystemStore, tmp_path: Path
) -> None:
    run_id = await packaged_run(client)

    version = await register(client, run_id)

    [event] = await emitted(database)
    assert (event["version"], event["format"], version["run_id"]) == (1, "sklearn-skops", run_id)
    assert event["signature"] == {
        "inputs": [{"type": "double", "name": "x", "required": True}],
        "outputs": [{"type": "long", "required": True}],
    }
    files = await fetch_package(store, event["digest"], tmp_path / "package")
    assert [file.path for file in files] == ["MLmodel", "model.skops"]
    assert event["headers"]["ce_subject"] == "models/m/versions/1"


async def test_a_later_upload_changes_nothing_that_is_sealed(client: httpx.AsyncClient) -> None:
    run_id = await packaged_run(client)
    await register(client, run_id)
    before = (await client.get("/v1/models/m/versions/1")).json()
    await upload(client, f"0/{run_id}/artifacts/package/MLmodel", "flavors: {evil: {}}")

    after = (await client.get("/v1/models/m/versions/1")).json()
    uri = await call(client, "GET", "model-versions/get-download-uri", name="m", version="1")
    path = uri["artifact_uri"].removeprefix("mlflow-artifacts:/")
    served = await client.get(f"/api/2.0/mlflow-artifacts/artifacts/{path}/MLmodel")

    assert after == before
    assert served.text == MLMODEL


@pytest.mark.parametrize("source", ["mlflow-artifacts:/nothing", "runs:/{run}/nothing"])
async def test_a_version_without_files_of_ours_is_kept_unsealed(
    client: httpx.AsyncClient, database: Database, source: str
) -> None:
    run_id = await packaged_run(client)

    version = await register(client, run_id, source=source.format(run=run_id))

    assert version["status"] == "READY"
    assert version["status_message"].startswith("not sealed: ")
    assert await emitted(database) == []
    assert (await client.get("/v1/models/m/versions/1")).json()["sealed"] is False


@pytest.mark.parametrize(
    ("flavors", "expected"),
    [
        ("{python_function: {}, onnx: {}}", "onnx"),
        ("{sklearn: {serialization_format: cloudpickle}}", "sklearn-pickle"),
        ("{python_function: {}}", "python_function"),
        ("{xgboost: {}, python_function: {}}", "xgboost"),
    ],
)
async def test_the_format_follows_the_flavors(
    client: httpx.AsyncClient, database: Database, flavors: str, expected: str
) -> None:
    await register(client, await packaged_run(client, f"flavors: {flavors}"))

    [event] = await emitted(database)

    assert event["format"] == expected


@pytest.mark.parametrize(
    "mlmodel",
    [
        "]",
        "just text",
        "flavors: {}",
        "a: !!python/name:os.x ''",
        "flavors: " + "[" * 5000 + "]" * 5000,
    ],
)
async def test_a_bad_mlmodel_file_leaves_the_version_unsealed_with_the_reason(
    client: httpx.AsyncClient, database: Database, mlmodel: str
) -> None:
    version = await register(client, await packaged_run(client, mlmodel))

    assert "MLmodel" in version["status_message"]
    assert await emitted(database) == []


async def test_a_pipelines_tags_cause_and_datasets_are_in_the_event(
    client: httpx.AsyncClient, database: Database
) -> None:
    run_id = await packaged_run(client, loopwright__pipeline_run="p-1")
    await upload(client, f"0/{run_id}/artifacts/loopwright/training.parquet", b"parquet bytes")
    details = {"training": {"rows": 7, "target": "y", "until": "2024-01-02T00:00:00.000000Z"}}
    tags = {
        "loopwright.pipeline": "bank",
        "loopwright.commit": "9f2c",
        "loopwright.run": "p-1",
        "loopwright.deploy": '{"keep": 3}',
        "loopwright.datasets": json.dumps(details),
    }

    await register(client, run_id, CAUSE_HEADER, tags)

    [event] = await emitted(database)
    assert (event["pipeline"], event["commit"], event["run_id"]) == ("bank", "9f2c", "p-1")
    assert event["deploy"] == {"keep": 3}
    [dataset] = event["datasets"]
    assert (dataset["role"], dataset["rows"], dataset["target"]) == ("training", 7, "y")
    assert event["headers"]["ce_chainid"] == CAUSE.chain_id
    assert event["headers"]["ce_causes"] == "commit-event"


async def test_without_details_the_dataset_file_itself_is_read(
    client: httpx.AsyncClient, database: Database
) -> None:
    run_id = await packaged_run(client)
    times = pa.array(
        [None, 1_600_000_000_000_000, 1_700_000_000_000_000], pa.timestamp("us", "UTC")
    )
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": [1, 2, 3], "time": times}), buffer)
    await upload(client, f"0/{run_id}/artifacts/loopwright/holdout.parquet", buffer.getvalue())

    await register(client, run_id)

    [event] = await emitted(database)
    [dataset] = event["datasets"]
    assert (dataset["role"], dataset["rows"]) == ("holdout", 3)
    assert dataset["from"] == "2020-09-13T12:26:40.000000Z"
    assert dataset["until"] == "2023-11-14T22:13:20.000000Z"


class _GivesNoLargeBlobWhole(FilesystemStore):
    async def get(self, digest: str) -> bytes:
        content = await super().get(digest)
        assert len(content) < 1 << 20, "a dataset is read from a file"
        return content


async def test_a_dataset_is_never_held_whole(database: Database, tmp_path: Path) -> None:
    store = _GivesNoLargeBlobWhole(tmp_path / "artifacts")
    rows = 1 << 19
    table = pa.table({"x": np.random.default_rng(0).random(rows)})
    pq.write_table(table, tmp_path / "holdout.parquet")
    body = (tmp_path / "holdout.parquet").read_bytes()
    context = MlflowContext(database, store, largest_upload=1 << 30)
    app = build_app(context, EventFeed(database, FeedLimits()), Metrics(), {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        run_id = await packaged_run(client)
        await upload(client, f"0/{run_id}/artifacts/loopwright/holdout.parquet", body)

        await register(client, run_id)

    [event] = await emitted(database)
    [dataset] = event["datasets"]
    assert dataset["rows"] == rows
    assert len(body) > 4 << 20


async def test_a_version_made_in_a_pipeline_run_is_held_and_adopted(
    client: httpx.AsyncClient, database: Database
) -> None:
    run_id = await packaged_run(client, loopwright__pipeline_run="p-1")
    held = await register(client, run_id)
    announced_before = await emitted(database)
    tags = {"loopwright.run": "p-1"}

    adopted = await register(client, run_id, CAUSE_HEADER, tags)
    again = await register(client, run_id, CAUSE_HEADER, tags)

    assert held["status_message"].startswith("held")
    assert announced_before == []
    assert held["version"] == adopted["version"] == again["version"] == "1"
    assert len(await emitted(database)) == 1


async def test_numbers_are_never_given_twice(client: httpx.AsyncClient) -> None:
    run_id = await packaged_run(client)
    for _ in range(2):
        await register(client, run_id)
    await call(client, "DELETE", "model-versions/delete", name="m", version="2")

    assert (await register(client, run_id))["version"] == "3"


async def test_the_run_must_be_that_of_the_source(client: httpx.AsyncClient) -> None:
    run_id, other = await packaged_run(client), await new_run(client)
    await call(client, "POST", "registered-models/create", name="m")

    found = await error(
        client, "POST", "model-versions/create",
        name="m", source=f"runs:/{run_id}/package", run_id=other,
    )  # fmt: skip

    assert found == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("nonsense", "tag loopwright.deploy: give a JSON object"),
        ('{"keep": 0}', "tag loopwright.deploy: keep: has to be at least 1"),
        ('{"canary": {"stepz": [], "max_time": "soon"}}', "canary.max_time: 'soon' is no duration"),
    ],
)
async def test_a_policy_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, value: str, fault: str
) -> None:
    run_id = await packaged_run(client)
    await call(client, "POST", "registered-models/create", name="m")

    answer = await send(
        client, "POST", "model-versions/create", name="m", source=f"runs:/{run_id}/package",
        tags=[{"key": "loopwright.deploy", "value": value}],
    )  # fmt: skip

    assert answer.status_code == 400
    assert fault in answer.json()["message"]
    assert (await client.get("/v1/models/m/versions")).json()["items"] == []


async def test_a_pipeline_finds_the_version_of_its_run(client: httpx.AsyncClient) -> None:
    run_id = await packaged_run(client)
    await register(client, run_id)
    await register(client, run_id, CAUSE_HEADER, {"loopwright.run": "p-1"})

    found = await call(
        client, "GET", "model-versions/search", filter="name = 'm' AND tags.loopwright.run = 'p-1'"
    )

    assert [version["version"] for version in found["model_versions"]] == ["2"]

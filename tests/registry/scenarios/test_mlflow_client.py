"""An unmodified mlflow client against a real server."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from tests.registry.builders import API, hold_run, new_run
from tests.registry.harness import running_replica

FLOW = Path(__file__).parent / "mlflow_workflow.py"
REFUSALS = Path(__file__).parent / "mlflow_refusals.py"
WRITER = Path(__file__).parent / "mlflow_writer.py"


async def flow(url: str, tmp_path: Path) -> dict[str, Any]:
    environment = {**os.environ, "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FLOW), url, cwd=tmp_path, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return found


async def archived(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    while True:
        events: list[dict[str, Any]] = (await client.get("/v1/events", params=query)).json()[
            "items"
        ]
        if events:
            return events
        await asyncio.sleep(0.05)


async def test_a_plain_client_logs_registers_and_loads_back(url: str, tmp_path: Path) -> None:
    seen = await flow(url, tmp_path)

    assert seen["params"] == {"a": "1", "b": "2", "c": "3"}
    assert seen["metrics"] == {"loss": 1 / 3, "accuracy": 1.0}
    assert seen["odd_is_nan"] is True
    assert seen["history"] == [1.0, 0.5, 1 / 3]
    assert (seen["dataset"], seen["artifacts"]) == ("rows", ["folder/d.json"])
    assert json.loads(seen["text"]) == {"k": 1}
    assert (seen["by_alias"], seen["versions"]) == ("1", ["1"])
    assert (seen["models"], seen["found"]) == (["flower"], [seen["run_id"]])
    for how in ("pyfunc", "sklearn", "of_run", "latest"):
        assert seen[how] == [0, 1], how
    async with httpx.AsyncClient(base_url=url) as client:
        await _registered_once(client, seen["run_id"])


async def _registered_once(client: httpx.AsyncClient, run_id: str) -> None:
    [event] = await archived(client, type="model-registered")
    data = event["data"]
    assert (data["model"], data["version"], data["format"]) == ("flower", 1, "sklearn-skops")
    assert data["signature"]["inputs"][0]["tensor-spec"]["shape"] == [-1, 1]
    assert data["metrics"] == {"loss": 1 / 3, "accuracy": 1.0}
    version = (await client.get("/v1/models/flower/versions/@best")).json()
    assert (version["digest"], version["tracking_run_id"]) == (data["digest"], run_id)
    verified = (await client.get("/v1/models/flower/versions/1/verify")).json()
    assert verified["verified"] is True
    await archived(client, type="alias-changed")
    told = (await client.get("/v1/why/flower/@best")).json()["items"]
    assert [line["type"] for line in told] == ["model-registered", "alias-changed"]


@pytest.fixture
async def server(url: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


async def write(url: str, run_id: str, token: str, home: Path) -> dict[str, str]:
    """What became of each write of an unmodified client with this token."""
    return await told(WRITER, [run_id], home, url, MLFLOW_TRACKING_TOKEN=token)


async def told(
    script: Path, arguments: Sequence[str], home: Path, url: str, **more: str
) -> dict[str, str]:
    """What a script with an unmodified client prints."""
    environment = {**os.environ, "HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true",
                   "MLFLOW_TRACKING_URI": url, **more}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, cwd=home, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    found: dict[str, str] = json.loads(out.decode().splitlines()[-1])
    return found


async def test_a_plain_client_of_a_superseded_attempt_is_told_so(
    url: str, server: httpx.AsyncClient, tmp_path: Path
) -> None:
    run_id = await new_run(server)
    await hold_run(server, run_id, "first", 1)
    before = await write(url, run_id, "first", tmp_path)
    await hold_run(server, run_id, "second", 2)
    after = await write(url, run_id, "first", tmp_path)

    assert set(before.values()) == {"done"}
    assert after.pop("read") == "done"
    superseded = f"run {run_id} belongs to a newer attempt; this attempt was superseded"
    assert {what for what, said in after.items() if superseded not in said} == set()


async def test_a_plain_client_understands_a_refusal(url: str, tmp_path: Path) -> None:
    said = await told(REFUSALS, [], tmp_path, url)

    assert {what: text.partition(":")[0] for what, text in said.items()} == {
        "large": "INVALID_PARAMETER_VALUE",
        "unseen": "INVALID_PARAMETER_VALUE",
        "missing": "RESOURCE_DOES_NOT_EXIST",
    }
    assert "U+200B ZERO WIDTH SPACE" in said["unseen"]


async def test_a_client_in_a_hurry_is_told_so_in_mlflows_shape(
    bus: SqliteBus, migrated_url: str, tmp_path: Path
) -> None:
    """The client itself tells a 429 only as what it gave up on."""
    async with running_replica(bus, tmp_path, migrated_url, request_rate=0.1) as client:
        answers = [await client.get(f"{API}/experiments/search") for _ in range(3)]

    refused = answers[-1]
    assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
    assert refused.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"

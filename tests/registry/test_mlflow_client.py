"""An unmodified mlflow client against a real server."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright_common.bus.sqlite.log import SqliteBus
from loopwright_common.process import runtime
from loopwright_registry.main import build
from loopwright_registry.settings import RegistrySettings

FLOW = Path(__file__).parent / "mlflow_flow.py"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
async def url(tmp_path: Path, bus: SqliteBus, database_url: str) -> AsyncGenerator[str, None]:
    """Where a whole registry listens, relay and consumers included."""
    settings = RegistrySettings(
        database_url=database_url, artifacts_url=f"file://{tmp_path}/artifacts", port=free_port()
    )
    stop, started = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await build(settings, bus, stack)
        running = asyncio.create_task(runtime.run_until(stop, [service], started.set))
        await started.wait()
        yield f"http://127.0.0.1:{settings.port}"
        stop.set()
        await running


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

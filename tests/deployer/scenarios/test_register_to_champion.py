"""The whole service on real parts: bus, database, store, packaging and staging processes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.events import RoutesChanged, ServedRoute, ServingMeasured
from loopwright_common.process.service import Service
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.main import build
from loopwright_deployer.settings import DeployerSettings
from tests.common.bus_harness import until
from tests.deployer.builders import (
    COLUMNS,
    MODEL,
    MODEL_ID,
    pipeline,
    publish,
    published_events,
    registered,
    replica,
    skops_package,
    with_example,
)


@dataclass
class Running:
    """A running deployer, its API, and a stand-in for the scorer's replicas."""

    service: Service
    bus: EventBus
    api: httpx.AsyncClient
    store: FilesystemStore
    directory: Path

    async def register(self, version: int, **changes: Any) -> None:
        package = skops_package(self.directory / f"package-{version}", pipeline(version), COLUMNS)
        with_example(package, ["age", "rate", "job"], [[30, 0.5, "nurse"], [60, -0.5, "clerk"]])
        digest = await store_package(self.store, package)
        await publish(self.bus, registered(version, digest=digest, **changes))

    async def until(self, version: int, *states: str) -> dict[str, Any]:
        """The deployment of the version once it is in one of the states."""
        found: dict[str, Any] = {}
        for _ in range(4800):
            listed = (await self.api.get("/v1/deployments")).json()["items"]
            found = next((d for d in listed if d["version"] == version), {})
            if found.get("state") in states:
                return found
            await asyncio.sleep(0.05)
        pytest.fail(f"version {version} is {found.get('state')}: {found.get('why')}")

    async def reaches_step(self, version: int, step: int) -> None:
        """Return once its canary has taken the step, from 0."""
        async with asyncio.timeout(240):
            while (await self.until(version, "canary"))["canary_step"] != step:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def act(self, deployment: dict[str, Any], action: str) -> httpx.Response:
        request = {"by": "ada", "reason": "test"}
        return await self.api.post(f"/v1/deployments/{deployment['id']}/{action}", json=request)

    async def judged_again(self, deployment: dict[str, Any]) -> list[dict[str, Any]]:
        path = f"/v1/deployments/{deployment['id']}/judge"
        answer = await self.api.post(path, json={}, params={"limit": 500})
        return list(answer.json()["items"])

    async def answered(self, version: int, calls: int, errors: int = 0, **more: Any) -> None:
        """The scorer counted this many calls of a version under the present revision."""
        route = (await self.api.get("/v1/routes")).json()["items"][0]
        measured = ServingMeasured(
            environment="production", model_id=MODEL_ID, model=MODEL, replica="r1", epoch="e1",
            revision=route["revision"], version=version, role="live", calls=calls, rows=calls,
            errors=errors, latency_edges=[0.01, 0.1], latency_counts=[calls, 0, 0], **more,
        )  # fmt: skip
        await publish(self.bus, measured, f"production/{MODEL_ID}")


async def acknowledge(bus: EventBus, routes: TableReader[RoutesChanged]) -> None:
    """A replica that serves whatever it is told, and says so now and then."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await routes.changed.wait()
        routes.changed.clear()
        served = [
            ServedRoute(model_id=e.data.model_id, revision=e.data.revision)
            for e in routes.rows.values()
        ]
        await publish(bus, replica(*served), "r1")


@pytest.fixture
async def running(
    tmp_path: Path, database_url: str, bus: EventBus, store: FilesystemStore
) -> AsyncGenerator[Running, None]:
    settings = DeployerSettings(
        database_url=database_url,
        artifacts_url=f"file://{tmp_path / 'artifacts'}",
        work_dir=tmp_path / "work",
        warm_processes=False,
    )
    async with AsyncExitStack() as stack:
        service = await build(settings, bus, stack)
        routes = TableReader(bus, RoutesChanged)
        running = [*(loop() for loop in service.loops), routes.run(), acknowledge(bus, routes)]
        tasks = [asyncio.ensure_future(loop) for loop in running]
        transport = httpx.ASGITransport(app=service.app)
        api = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        yield Running(service, bus, await stack.enter_async_context(api), store, tmp_path)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_versions_go_from_registered_to_champion_and_back(running: Running) -> None:
    await running.register(1)
    first = await running.until(1, "promoted", "rejected")
    assert first["state"] == "promoted", first
    assert {c["name"]: c["verdict"] for c in first["checks"]}["hostile-inputs"] == "passed"

    await running.answered(1, calls=500)
    await running.register(2)
    await running.until(2, "canary", "rejected", "paused")
    await running.answered(1, calls=500)
    for step, share in enumerate((30, 60)):
        await running.reaches_step(2, step)
        await running.answered(2, calls=share)
    second = await running.until(2, "promoted", "rolled-back")
    assert second["previous"] == 1
    looks = await running.judged_again(second)
    assert all(look["same"] for look in looks), looks
    moves = [look["action"] for look in looks if look["action"] != "wait"]
    assert [move for move in moves if move != "begin-anew"] == ["advance", "promote"]

    undone = await running.api.post(f"/v1/models/{MODEL}/undo", json={"by": "ada"})
    assert undone.json()["state"] == "rolled-back"
    assert undone.json()["route"]["arms"][0]["version"] == 1

    async def is_said() -> bool:
        said = await published_events(running.bus, "deployment-promoted")
        return [event.data.version for event in said] == [1, 2]

    await until(is_said)

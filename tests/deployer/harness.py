"""A deployer and a scorer, with a monitor where rows are captured, over one log and one store."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loopwright_common.bus.interface import EventBus
from loopwright_common.process.service import Service
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.main import build as build_deployer
from loopwright_deployer.settings import DeployerSettings
from loopwright_monitor.main import build as build_monitor
from loopwright_monitor.settings import MonitorSettings
from loopwright_scorer.main import build as build_scorer
from loopwright_scorer.settings import ScorerSettings
from tests.deployer.builders import MODEL, publish, registered

ROW = {"age": ("INT64", 30), "rate": ("FP64", 0.5), "job": ("BYTES", "nurse")}


@dataclass
class DeployerHarness:
    """What people and callers reach: the deployer's API and the scorer's."""

    bus: EventBus
    store: FilesystemStore
    package: Path
    api: httpx.AsyncClient
    scorer: httpx.AsyncClient

    async def register(self, version: int, package: Path | None = None, **changes: Any) -> None:
        """With the harness's own package, unless another one is given."""
        digest = await store_package(self.store, package or self.package)
        await publish(self.bus, registered(version, digest=digest, format="onnx", **changes))

    async def deployment(self, version: int) -> dict[str, Any]:
        listed = (await self.api.get("/v1/deployments")).json()["items"]
        return next((d for d in listed if d["version"] == version), {})

    async def reaches(self, version: int, state: str, why: str = "") -> dict[str, Any]:
        """The deployment once it is in the state and says so; TimeoutError shows what it is."""
        found: dict[str, Any] = {}
        for _ in range(4800):
            found = await self.deployment(version)
            if found.get("state") == state and why in found["why"]:
                return found
            await asyncio.sleep(0.05)
        raise TimeoutError(f"version {version} is {found.get('state')}: {found.get('why')}")

    async def request(self, version: int, action: str, **more: str) -> httpx.Response:
        deployment = await self.deployment(version)
        return await self._say(f"/v1/deployments/{deployment['id']}/{action}", **more)

    async def undo(self) -> httpx.Response:
        return await self._say(f"/v1/models/{MODEL}/undo")

    async def ask(self, **values: Any) -> str:
        """The version that answers one request, of a row that differs in these values."""
        inputs = [
            {"name": name, "datatype": datatype, "shape": [1], "data": [values.get(name, value)]}
            for name, (datatype, value) in ROW.items()
        ]
        answer = await self.scorer.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs})
        return str(answer.json().get("model_version", answer.text))

    async def answers(self, wanted: Callable[[set[str]], bool]) -> None:
        """Wait until the versions that answer twenty requests are as wanted."""
        found: set[str] = set()
        for _ in range(1000):
            found = {await self.ask() for _ in range(20)}
            if wanted(found):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"answered by {found}")

    async def _say(self, path: str, **more: str) -> httpx.Response:
        return await self.api.post(path, json={"by": "ada", "reason": "test", **more})


@asynccontextmanager
async def running_harness(
    directory: Path,
    bus: EventBus,
    store: FilesystemStore,
    package: Path,
    *,
    database_url: str | None = None,
    captures: bool = False,
) -> AsyncGenerator[DeployerHarness, None]:
    """The services, running until the end; a monitor among them where it `captures` rows."""
    urls: dict[str, Any] = {
        "database_url": database_url or f"sqlite:///{directory / 'databases'}",
        "artifacts_url": f"file://{directory / 'artifacts'}",
    }
    deploying = DeployerSettings(work_dir=directory / "work", warm_processes=False, **urls)
    scoring = ScorerSettings(cache_dir=directory / "cache", replica="r1", grpc_port=0, **urls)
    async with AsyncExitStack() as stack:
        deployer = await build_deployer(deploying, bus, stack)
        scorer = await build_scorer(scoring, bus, stack)
        services = [deployer, scorer]
        if captures:
            services.append(await build_monitor(MonitorSettings(**urls), bus, stack))
        loops = [asyncio.ensure_future(run()) for each in services for run in each.loops]
        api = await stack.enter_async_context(_client(deployer))
        yield DeployerHarness(
            bus, store, package, api, await stack.enter_async_context(_client(scorer))
        )
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


def _client(service: Service) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=service.app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

"""A replica as the service composes it, on a real log and store."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from loopwright_common.bus.interface import EventBus, from_start
from loopwright_common.cloudevents import codec
from loopwright_common.events import Arm, Payload, RoutesChanged
from loopwright_common.process.service import Service
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_scorer.main import build
from loopwright_scorer.new_event import new_event
from loopwright_scorer.settings import ScorerSettings

T = TypeVar("T")
MODEL, MODEL_ID = "bank", "m-1"
Columns = dict[str, list[Any]]
ROW: Columns = {"age": [41.0], "visits": [2], "job": ["clerk"], "balance": [10.5]}
_TYPES = {"age": "FP64", "visits": "INT64", "job": "BYTES", "balance": "FP64"}


def infer_body(columns: Columns, **more: object) -> dict[str, Any]:
    """A V2 request of columns."""
    inputs = [
        {"name": name, "datatype": _TYPES.get(name, "BYTES"), "shape": [len(data)], "data": data}
        for name, data in columns.items()
    ]
    return {"inputs": inputs, **more}


async def eventually(holds: Callable[[], Awaitable[T]], within: float = 240) -> T:
    """What `holds` gives once that is true; TimeoutError when it is not `within` seconds."""
    async with asyncio.timeout(within):
        while not (found := await holds()):  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.01)
    return found


@dataclass
class ScorerHarness:
    """Everything around a replica, and the replica when one runs."""

    bus: EventBus
    store: FilesystemStore
    directory: Path
    package_dirs: dict[str, Path]

    def settings(self, **changed: Any) -> ScorerSettings:
        defaults: dict[str, Any] = {
            "cache_dir": self.directory / "cache",
            "artifacts_url": f"file://{self.directory / 'artifacts'}",
            "replica": "r-1",
            "record_interval": 0.02,
            "grpc_port": 0,
        }
        return ScorerSettings(**{**defaults, **changed})

    async def arm(self, version: int, package: str, weight: float = 1.0, role: str = "live") -> Arm:
        digest = await store_package(self.store, self.package_dirs[package])
        return Arm(version=version, weight=weight, role=role, digest=digest, format="onnx")

    async def route(self, revision: int, *arms: Arm, **more: Any) -> None:
        """Publish a route, champion first."""
        data = RoutesChanged(
            environment="production",
            model_id=MODEL_ID,
            model=MODEL,
            revision=revision,
            arms=list(arms),
            **more,
        )
        key = f"production/{MODEL_ID}"
        await self.bus.publish([new_event(data, key=key, subject=f"models/{MODEL}")])

    async def events(self, topic: str) -> list[Payload]:
        """Every event of a topic so far."""
        ends = await self.bus.ends([topic])
        subscription = await self.bus.subscribe(None, [topic], from_start)
        records = await subscription.fetch(10_000, 0)
        while not await subscription.has_reached(ends):
            records += await subscription.fetch(10_000, 0.1)
        await subscription.close()
        return [codec.decode(record).data for record in records if record.value]

    @asynccontextmanager
    async def replica(self, **changed: Any) -> AsyncGenerator["Replica", None]:
        """A running replica, drained and stopped at the end."""
        async with AsyncExitStack() as stack:
            service = await build(self.settings(**changed), self.bus, stack)
            for listen in service.before_start:
                listen()
            loops = [asyncio.ensure_future(loop()) for loop in service.loops]
            transport = httpx.ASGITransport(service.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                yield Replica(service, http)
                for drain in service.on_stop:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(3):
                            await drain()
            for task in loops:
                task.cancel()
            ended = await asyncio.gather(*loops, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


@dataclass
class Replica:
    service: Service
    http: httpx.AsyncClient

    async def serves(self, revision: int) -> None:
        async def does() -> bool:
            return await self.revision() == revision

        await eventually(does)

    def slow_down(self, seconds: float) -> None:
        """Let version 1 be expected to take so long for a call."""
        protocols = self.service.app._protocols  # type: ignore[attr-defined]
        routes = next(each._routes for each in protocols if hasattr(each, "_routes"))
        routes.route(MODEL).versions[1].model.call_seconds = seconds

    async def revision(self) -> int | None:
        items = (await self.http.get("/v1/models")).json()["items"]
        return items[0]["revision"] if items else None

    async def infer(
        self, columns: Columns, path: str = f"/v2/models/{MODEL}/infer", **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, json=infer_body(columns), headers=named)

    def metric(self, name: str) -> float:
        return self.service.metrics.registry.get_sample_value(name) or 0.0

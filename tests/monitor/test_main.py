"""The built service: its loops do by themselves what the other tests drive by hand."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_monitor.main import build
from loopwright_monitor.settings import MonitorSettings
from tests.monitor.harness import MonitorHarness


async def test_a_running_monitor_tells_drift_and_serves_its_api(
    tmp_path: Path, bus: SqliteBus, store: FilesystemStore
) -> None:
    async with AsyncExitStack() as stack:
        others = await MonitorHarness.open(stack, f"sqlite:///{tmp_path / 'others'}", bus, store)
        settings = MonitorSettings(
            database_url=f"sqlite:///{tmp_path / 'own'}",
            artifacts_url=f"file://{tmp_path / 'artifacts'}",
        )
        service = await build(settings, bus, stack)
        loops = [asyncio.ensure_future(run()) for run in service.loops]
        rng = np.random.default_rng(0)
        await others.register(pa.table({"age": rng.normal(size=2000), "y": ["no"] * 2000}))
        await others.promote()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(service.app), base_url="http://localhost"
        ) as client:
            await until_ready(client)
            await others.score({"age": rng.normal(2.0, size=512).tolist()})
            await until_told(others)
            ready = await client.get("/readyz")
        assert set(ready.json()["checks"].values()) == {"ok"}
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def until_ready(client: httpx.AsyncClient) -> None:
    while True:
        answer = await client.get("/v1/models/bank")
        shown = answer.json()
        if answer.status_code == 200 and (shown["profile"] or {}).get("state") == "ready":
            return
        await asyncio.sleep(0.05)


async def until_told(harness: MonitorHarness) -> None:
    while True:
        if await harness.told("drift-detected"):
            return
        await asyncio.sleep(0.05)

"""Packages that end whatever reads them harm nobody but themselves."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.sandbox import detect
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from tests.deployer.builders import (
    COLUMNS,
    graph_of,
    onnx_package,
    pipeline,
    publish,
    registered,
)
from tests.deployer.damaged_packages import DAMAGED
from tests.deployer.harness import DeployerHarness, running_harness


async def ended(harness: DeployerHarness, model: str) -> dict[str, Any]:
    """The model's one deployment, once it is decided."""
    while True:
        listed = await harness.api.get("/v1/deployments", params={"model": model})
        for found in listed.json()["items"]:
            if found["state"] in ("rejected", "promoted", "rolled-back"):
                return dict(found)
        await asyncio.sleep(0.05)


def children() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


@pytest.mark.timeout(300)
async def test_a_package_that_crashes_its_reader_is_rejected(
    tmp_path: Path, bus: EventBus, store: FilesystemStore
) -> None:
    sound_package = onnx_package(tmp_path / "sources" / "sound", graph_of(pipeline()), COLUMNS)
    before = children()
    async with running_harness(tmp_path, bus, store, sound_package) as harness:
        for name, (make, _) in DAMAGED.items():
            digest = await store_package(store, make(tmp_path / "sources" / name))
            data = registered(1, model_id=name, model=name, digest=digest)
            await publish(bus, data, name)
        await harness.register(1)

        sound = await ended(harness, "bank")
        decided = {name: await ended(harness, name) for name in DAMAGED}

        assert sound["state"] == "promoted", sound["why"]
        assert await harness.ask() == "1"
        report = json.loads(await store.get(sound["report"]))
        assert sound["sandbox"] == report["sandbox"] == detect().level
        for name, (_, says) in DAMAGED.items():
            assert decided[name]["state"] == "rejected"
            for words in says:
                assert words in decided[name]["why"], name
    assert not list((tmp_path / "work").glob("scratch/*"))
    assert children() <= before

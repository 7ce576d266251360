"""A process that does all a monitor has to do in a directory, to be killed on the way.

    python -m tests.monitor.crash_process DIRECTORY

The events of others are published by the first process; those after it only go on.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.storage.captured_dataset import materialise
from loopwright_common.storage.filesystem import FilesystemStore
from tests.monitor.harness import MonitorHarness

ROWS = 1024
BATCH = 128


async def main(directory: Path) -> None:
    async with AsyncExitStack() as stack:
        harness = await open_harness(directory, stack)
        if not (directory / "said").exists():
            await say_everything(harness)
            (directory / "said").touch()
        for _ in range(2):
            await harness.settle()


async def open_harness(directory: Path, stack: AsyncExitStack) -> MonitorHarness:
    bus = await SqliteBus.open(directory / "bus")
    stack.push_async_callback(bus.close)
    store = FilesystemStore(directory / "store")
    return await MonitorHarness.open(stack, f"sqlite:///{directory}", bus, store, batch=3)


async def say_everything(harness: MonitorHarness) -> None:
    rng = np.random.default_rng(0)
    await say_champion(harness, rng)
    await say_rows(harness, rng)


async def say_champion(harness: MonitorHarness, rng: np.random.Generator) -> None:
    await harness.register(pa.table({"age": rng.normal(size=2000), "y": ["no"] * 2000}))
    await harness.promote()


async def say_rows(harness: MonitorHarness, rng: np.random.Generator) -> None:
    """Rows that have drifted, with their labels."""
    for _ in range(ROWS // BATCH):
        ids = await harness.score({"age": rng.normal(2.0, size=BATCH).tolist()})
        await harness.label(ids, ["no"] * BATCH)


async def outcome_of(harness: MonitorHarness, directory: Path) -> dict[str, Any]:
    """What the world sees of it: rows, labels, and events by id."""
    shown = await harness.get("/v1/models/bank")
    pinned = await harness.post("/v1/captured/bank/manifest")
    told = await harness.told("drift-detected", "retrain-requested")
    return {
        "rows": await materialise(harness.store, pinned["digest"], directory),
        "seen": shown["rows_seen"],
        "labelled": shown["labelled"],
        "measured": shown["performance"][0]["labelled"],
        "told": sorted({event.id for event in told}),
        "state": await harness.state_of("inputs"),
    }


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

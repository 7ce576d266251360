"""Loopwright's own part: the scorer's service with its event bus in a directory."""

import asyncio
import sys
from pathlib import Path

import httpx

from benchmarks.scoring.models import Model

UNRECORDED = {"LOOPWRIGHT_SCORER_RECORD_BUFFER": "0"}
"""Without room for records every one is dropped, and only counted."""
_ROWS = ("logged", "spilled", "dropped")


def prepare(model: Model, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Route the model to the deployer's package; returns command and environment.

    Bus, records, measurements and validation are those of `loopwright up`: the embedded SQLite log
    in the scorer's own process, which leaves it all the work of recording.
    """
    asyncio.run(_route(model, directory))
    variables = {
        "LOOPWRIGHT_BUS_URL": f"sqlite:///{directory / 'bus'}",
        "LOOPWRIGHT_ARTIFACTS_URL": f"file://{directory / 'artifacts'}",
        "LOOPWRIGHT_SCORER_CACHE_DIR": str(directory / "cache"),
        "LOOPWRIGHT_SCORER_PORT": str(port),
    }
    return [sys.executable, "-m", "loopwright_scorer.main"], variables


async def _route(model: Model, directory: Path) -> None:
    from loopwright_common.buses import open_bus
    from loopwright_common.directory_store import DirectoryStore
    from loopwright_common.events import Arm, RoutesChanged
    from loopwright_common.package import store_package
    from loopwright_scorer.outgoing import outgoing

    store = DirectoryStore(directory / "artifacts")
    digest = await store_package(store, model.serving)
    data = RoutesChanged(
        environment="production",
        model_id=model.name,
        model=model.name,
        revision=1,
        arms=[Arm(version=1, weight=1.0, digest=digest, format="onnx")],
    )
    bus = await open_bus(f"sqlite:///{directory / 'bus'}")
    key = f"production/{model.name}"
    await bus.publish([outgoing(data, key=key, subject=f"models/{model.name}")])
    await bus.close()


def has_workers() -> bool:
    """Whether the scorer can be told to run several."""
    from loopwright_scorer.settings import ScorerSettings

    return "workers" in ScorerSettings.model_fields


def recorded(port: int) -> str:
    """What became of the scored rows, as the process that answered counts it."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines()
    found = dict(line.split() for line in lines if line.startswith("loopwright_inference_rows"))
    counts = ((kind, found.get(f"loopwright_inference_rows_{kind}_total")) for kind in _ROWS)
    return ", ".join(f"{float(count):.0f} rows {kind}" for kind, count in counts if count)

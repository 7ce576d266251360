"""Loopwright's own part: the scorer's service, and the event bus it is on."""

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.scoring.models import Model

_DROPPED = "loopwright_inference_rows_dropped_total"


@contextmanager
def bus(directory: Path, *, on_kafka: bool) -> Generator[str, None, None]:
    """A new bus's URL: a broker of its own, or a directory that the scorer's process opens."""
    if not on_kafka:
        yield f"sqlite:///{directory / 'bus'}"
        return
    from loopwright.engines import Kafka
    from loopwright_common.process.declare_topics import ensure_topics

    broker = Kafka(directory / "kafka")
    broker.start()
    try:
        asyncio.run(ensure_topics(broker.url))
        yield broker.url
    finally:
        broker.stop()


def prepare(
    model: Model, directory: Path, port: int, bus: str | None = None, *, recorded: bool = True
) -> tuple[list[str], dict[str, str]]:
    """Route the model to the deployer's package; returns command and environment.

    Measurements, validation and (unless told otherwise) recording of every row are those of the
    service as it comes. With the bus in a directory, the usual one here, its process has all the
    work of recording, and no broker takes a part of the machine.
    """
    bus = bus or f"sqlite:///{directory / 'bus'}"
    asyncio.run(_route(model, directory, bus, recorded=recorded))
    variables = {
        "LOOPWRIGHT_BUS_URL": bus,
        "LOOPWRIGHT_ARTIFACTS_URL": f"file://{directory / 'artifacts'}",
        "LOOPWRIGHT_SCORER_CACHE_DIR": str(directory / "cache"),
        "LOOPWRIGHT_SCORER_PORT": str(port),
    }
    return [sys.executable, "-m", "loopwright_scorer.main"], variables


async def _route(model: Model, directory: Path, url: str, *, recorded: bool) -> None:
    from loopwright_common.deploy_policy import RecordPolicy
    from loopwright_common.events import Arm, RoutesChanged
    from loopwright_common.process.bus_factory import open_bus
    from loopwright_common.storage import FilesystemStore, store_package
    from loopwright_scorer.new_event import new_event

    store = FilesystemStore(directory / "artifacts")
    digest = await store_package(store, model.serving)
    data = RoutesChanged(
        environment="production",
        model_id=model.name,
        model=model.name,
        revision=1,
        arms=[Arm(version=1, weight=1.0, digest=digest, format="onnx")],
        record=None if recorded else RecordPolicy(sample=0),
    )
    bus = await open_bus(url)
    key = f"production/{model.name}"
    await bus.publish([new_event(data, key=key, subject=f"models/{model.name}")])
    await bus.close()


def dropped(port: int) -> float:
    """Rows so far that found no room among the records, as the process that answers counts."""
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    lines = [line for line in answer.text.splitlines() if line.startswith(_DROPPED)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

"""Several processes behind one port, on a real Kafka: shared load, metrics, restarts, an end."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from loopwright.ports import free_port
from loopwright_common.bus.topics import all_topics
from loopwright_common.ids import new_id
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_scorer.workers import run
from tests.scorer.harness import MODEL, ROW, ScorerHarness, eventually, infer_body

WORKERS = 2


@asynccontextmanager
async def workers(
    harness: ScorerHarness, kafka_url: str, prefix: str, port: int
) -> AsyncGenerator[int, None]:
    """The pid of the process that keeps them."""
    variables = {
        "BUS_URL": kafka_url,
        "TOPIC_PREFIX": prefix,
        "ARTIFACTS_URL": f"file://{harness.directory / 'artifacts'}",
        "SCORER_CACHE_DIR": str(harness.directory / "cache"),
        "SCORER_PORT": str(port),
        "SCORER_GRPC_PORT": "0",
        "SCORER_WORKERS": str(WORKERS),
    }
    keeper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loopwright_scorer.main"),
        env={**os.environ, **{f"LOOPWRIGHT_{name}": value for name, value in variables.items()}},
    )
    try:
        yield keeper.pid
    finally:
        keeper.terminate()
        assert await keeper.wait() == 0


async def ask(port: int) -> httpx.Response:
    """One call on a connection of its own."""
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as http:
        return await http.post(f"/v2/models/{MODEL}/infer", json=infer_body(ROW))


async def calls_by_worker(port: int) -> Counter[str]:
    from prometheus_client.parser import text_string_to_metric_families

    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return Counter(
        {
            sample.labels["worker"]: int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "loopwright_predictions_total"
            and sample.labels["outcome"] == "answered"
        }
    )


async def test_workers_share_a_port_and_are_kept_alive(
    kafka_url: str,
    store: FilesystemStore,
    tmp_path: Path,
    package_dirs: dict[str, Path],
) -> None:
    topic_prefix, port = f"{new_id()}.", free_port()
    await ensure_topics(kafka_url, topic_prefix, all_topics())
    bus = await open_bus(kafka_url, topic_prefix)
    harness = ScorerHarness(bus, store, tmp_path, package_dirs)
    await harness.route(1, await harness.arm(1, "low"))

    async with workers(harness, kafka_url, topic_prefix, port) as keeper:

        async def all_serve() -> bool:
            try:
                await ask(port)
                return len(await calls_by_worker(port)) == WORKERS
            except httpx.TransportError:
                return False

        await eventually(all_serve, within=240)
        before = (await calls_by_worker(port)).total()
        answers = [await ask(port) for _ in range(40)]
        counted = await calls_by_worker(port)

        killed = psutil.Process(keeper).children()[0]
        killed.send_signal(signal.SIGKILL)

        async def both_again() -> bool:
            running = psutil.Process(keeper).children()
            return len(running) == WORKERS and killed not in running and await all_serve()

        await eventually(both_again, within=240)
    await bus.close()

    assert {answer.status_code for answer in answers} == {200}
    assert counted.total() - before == 40
    assert min(counted.values()) > 0


def test_a_bus_that_processes_cannot_share_is_refused(harness: ScorerHarness) -> None:
    with pytest.raises(Exception, match=r"LOOPWRIGHT_SCORER_WORKERS is 2.*use one worker"):
        run(harness.settings(workers=2))

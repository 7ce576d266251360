"""A scorer told to stop answers what it was asked, says so, and keeps every record."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from tests.scorer.harness import ROW, ScorerHarness, eventually
from tests.scorer.listening import Listener

LINGER = 0.5


@asynccontextmanager
async def process(
    harness: ScorerHarness, directory: Path, port: int
) -> AsyncGenerator[asyncio.subprocess.Process]:
    variables = {
        "LOOPWRIGHT_BUS_URL": f"sqlite:///{directory / 'bus'}",
        "LOOPWRIGHT_ARTIFACTS_URL": f"file://{harness.directory / 'artifacts'}",
        "LOOPWRIGHT_SCORER_CACHE_DIR": str(directory / "cache"),
        "LOOPWRIGHT_SCORER_PORT": str(port),
        "LOOPWRIGHT_SCORER_GRPC_PORT": "0",
        "LOOPWRIGHT_SCORER_DRAIN_DELAY": str(LINGER),
    }
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loopwright_scorer.main"), env={**os.environ, **variables}
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_every_accepted_request_is_answered_and_recorded_and_the_end_is_clean(
    harness: ScorerHarness, tmp_path: Path, unused_tcp_port: int
) -> None:
    own = tmp_path / "own"
    harness.bus = await SqliteBus.open(own / "bus")
    await harness.route(1, await harness.arm(1, "low"))
    await harness.bus.close()
    there = Listener(unused_tcp_port)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with (
        process(harness, own, unused_tcp_port) as scorer,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        await eventually(lambda: is_ready(http))
        callers = [asyncio.create_task(ask_on(there)) for _ in range(4)]
        await asyncio.sleep(0.3)
        scorer.send_signal(signal.SIGTERM)

        async def says_so() -> bool:
            answer = await http.get("/v2/health/ready")
            return answer.status_code == 503 and "stopping" in answer.json()["error"]

        await eventually(says_so)
        answered = sum([await caller for caller in callers])
        status = await scorer.wait()
    for client in there.clients:
        client.close()

    harness.bus = await SqliteBus.open(own / "bus")
    batches = cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))
    await harness.bus.close()
    assert status == 0
    assert answered > 0
    assert sum(batch.table.num_rows for batch in batches) == answered


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/v2/models/bank/ready")).is_success
    except httpx.TransportError:
        return False


async def ask_on(there: Listener) -> int:
    """Ask until the server says it was the last answer and takes no new connection."""
    answered = 0
    while True:
        try:
            client = await there.connect()
        except ConnectionRefusedError:
            return answered
        while True:
            answer = await client.infer(ROW)
            assert answer.status == 200
            answered += 1
            if answer.headers.get("connection") == "close":
                break

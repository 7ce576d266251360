"""How soon other models answer in `loopwright up` while one never ends for one value.

All services in one process, as they are started by `loopwright up`, with two regressors: one that
is asked steadily, and one whose graph loops 2^62 times for the number 666. Callers wait 10 ms
between two calls; they ask the first model alone, and then while the other is asked for 666 again
and again, each time until the scorer gives it up. Times are the callers' own.

    python -m benchmarks.endless_model [--seconds 60] [--callers 4]
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tests.scorer.harmful_packages import EVIL, doubling, endless

from loopwright.client import PORTS
from loopwright.engines.program import Program
from loopwright.fleet.supervised_process import SupervisedProcess
from loopwright.ports import free_ports
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_scorer.new_event import new_event

_START_SECONDS = 180.0
_PAUSE = 0.01
_MODELS = {"good": doubling, "endless": endless}


@dataclass
class Embedded:
    """A running `loopwright up`; `seconds` of each call of the good model, and who `failed`."""

    http: httpx.AsyncClient
    process: SupervisedProcess
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    given_up: list[int] = field(default_factory=list)
    """Statuses with which the endless calls ended."""

    async def ask(self, model: str, value: float) -> int:
        tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [value]}
        answer = await self.http.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
        return answer.status_code

    async def answers(self, model: str) -> bool:
        with suppress(httpx.TransportError):
            return await self.ask(model, 1.0) == 200
        return False

    async def ask_steadily(self) -> None:
        """Until cancelled."""
        while True:
            started = time.perf_counter()
            self.failed += not await self.answers("good")
            self.seconds.append(time.perf_counter() - started)
            await asyncio.sleep(_PAUSE)

    async def ask_for_the_endless(self) -> None:
        """Until cancelled; the model's process starts anew after each."""
        while True:
            self.given_up.append(await self.ask("endless", EVIL))
            while True:
                if await self.answers("endless"):
                    break
                await asyncio.sleep(0.1)


@asynccontextmanager
async def running(directory: Path, **settings: Any) -> AsyncGenerator[Embedded, None]:
    """The system with both models open; `settings` are of the scorer."""
    await _route_models(directory)
    ports = free_ports()
    told = {f"{name.upper()}_PORT": ports[name] for name in PORTS} | {"SCORER_GRPC_PORT": 0}
    told |= {f"SCORER_{name.upper()}": value for name, value in settings.items()}
    environment = {f"LOOPWRIGHT_{name}": str(value) for name, value in told.items()}
    program = Program(
        name="loopwright",
        command=(sys.executable, "-m", "loopwright", "up", "--data-dir", str(directory / "data")),
        directory=directory,
        log=directory / "up.log",
        environment={**os.environ, **environment},
    )
    process = SupervisedProcess(program, lambda _process, _end: None)
    url = f"http://127.0.0.1:{ports['scorer']}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        system = Embedded(http, process)

        async def is_up() -> bool:
            return await system.answers("good") and await system.answers("endless")

        try:
            await process.wait_until_up(is_up, _START_SECONDS)
            yield system
        finally:
            await process.stop()


async def _route_models(directory: Path) -> None:
    """Before the system starts: one process at a time has the embedded bus."""
    data = directory / "data"
    data.mkdir()
    store, bus = FilesystemStore(data / "artifacts"), await SqliteBus.open(data)
    for name, make in _MODELS.items():
        digest = await store_package(store, make(directory / name))
        arms = [Arm(version=1, weight=1.0, role="live", digest=digest, format="onnx")]
        route = RoutesChanged(
            environment="production", model_id=name, model=name, revision=1, arms=arms
        )
        await bus.publish([new_event(route, key=f"production/{name}", subject=name)])
    await bus.close()


async def measure(system: Embedded, seconds: float, callers: int, *, endless: bool) -> str:
    """A line of figures; RuntimeError where nothing was given up that should have been."""
    system.seconds, system.failed, system.given_up = [], 0, []
    asking = [asyncio.create_task(system.ask_steadily()) for _ in range(callers)]
    if endless:
        asking.append(asyncio.create_task(system.ask_for_the_endless()))
    await asyncio.sleep(seconds)
    for task in asking:
        task.cancel()
    for ended in await asyncio.gather(*asking, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise RuntimeError(f"a caller ended: {ended!r}")
    if endless and not system.given_up:
        raise RuntimeError("no endless call was given up: measure longer")
    p50, p99, most = (1000 * np.quantile(system.seconds, at) for at in (0.5, 0.99, 1.0))
    what = f"{len(system.given_up)} endless calls given up" if endless else "no endless call"
    return (
        f"{what}: {len(system.seconds)} calls of the other model, {system.failed} failed, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.1f} ms; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endless_model")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two rounds")
    parser.add_argument("--callers", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory)) as system:
            for round_has_endless in (False, True):
                line = await measure(
                    system, asked.seconds, asked.callers, endless=round_has_endless
                )
                sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    asyncio.run(main())

"""Models that do harm for one value, in a scorer of its own process under a supervisor."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loopwright.engines.program import Program
from loopwright.fleet.supervised_process import SupervisedProcess
from loopwright.ports import free_port
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_scorer.new_event import new_event
from loopwright_scorer.watchdog.computation_slots import read_slots
from tests.scorer import harmful_packages as harmful
from tests.scorer.harness import ROW, eventually, infer_body

EVIL_TEXT = "a" * 40 + "!"
Values = dict[str, Any]


def number(value: float) -> Values:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [value]}
    return {"inputs": [tensor]}


def text(value: str) -> Values:
    return infer_body({"text": [value]})


ELSEWHERE = {"endless": harmful.endless, "hungry": harmful.hungry}
HERE = {"backtracking": harmful.backtracking, "crashing": harmful.also_backtracking}
"""What is native computes in the scorer until it has done harm once."""


@dataclass
class System:
    """A supervised scorer, and what a steady caller of its good model saw."""

    http: httpx.AsyncClient
    process: SupervisedProcess
    slots: Path
    failed: int = 0
    seconds: list[float] = field(default_factory=list)

    async def ask(self, model: str, body: Values) -> int:
        return (await self.http.post(f"/v2/models/{model}/infer", json=body)).status_code

    async def answers(self, model: str, body: Values) -> bool:
        with suppress(httpx.TransportError):
            return await self.ask(model, body) == 200
        return False

    async def ask_steadily(self) -> None:
        while True:
            started = time.perf_counter()
            self.failed += not await self.answers("good", infer_body(ROW))
            self.seconds.append(time.perf_counter() - started)
            await asyncio.sleep(0.01)

    async def why(self, model: str) -> str | None:
        """What the scorer has to say against a model's only version."""
        with suppress(httpx.TransportError):
            items = (await self.http.get("/v1/models")).json()["items"]
            found: list[Any] = next((one["arms"] for one in items if one["model"] == model), [])
            return found[0]["why"] if found else None
        return None

    async def says(self, model: str, words: str) -> bool:
        return words in (await self.why(model) or "")

    async def is_computing(self) -> bool:
        return bool(read_slots(self.slots).running)


async def test_a_model_that_never_ends_for_one_value_stops_nobody(
    tmp_path: Path, package_dirs: dict[str, Path]
) -> None:
    async with running(tmp_path, package_dirs["low"]) as system:
        for name in ELSEWHERE:
            await harms_only_itself(system, name, number(1.0), number(harmful.EVIL))
        await ends_the_scorer(system, "backtracking", _nothing, "did not return")
        await harms_only_itself(system, "backtracking", text("a"), text(EVIL_TEXT))
        await ends_the_scorer(system, "crashing", _crash, "crashed")
        # The second end has not forgotten the first; its model may be opened last.
        await eventually(lambda: system.says("backtracking", "did not return"))


async def harms_only_itself(system: System, name: str, good: Values, evil: Values) -> None:
    """The evil value fails, and meanwhile another model answers in the same process."""
    await eventually(lambda: system.answers(name, good))
    pid = system.process.pid
    system.failed, system.seconds = 0, []
    steady = asyncio.create_task(system.ask_steadily())
    assert await system.ask(name, evil) == 500

    async def was_asked() -> bool:
        return bool(system.seconds)

    await eventually(was_asked)
    steady.cancel()
    assert system.failed == 0
    assert system.process.pid == pid
    assert await system.why(name)
    await eventually(lambda: system.answers(name, good))
    tell(f"{name}: p99 of the other model {np.quantile(system.seconds, 0.99) * 1000:.1f} ms")


async def ends_the_scorer(
    system: System, name: str, then: Callable[[System], Awaitable[None]], why: str
) -> None:
    """The evil value is the process's last; the next one answers, and says what ended it."""
    await eventually(lambda: system.answers(name, text("a")))
    evil = asyncio.create_task(system.ask(name, text(EVIL_TEXT)))
    await then(system)
    with suppress(httpx.TransportError):
        raise AssertionError(f"it was answered {await evil}")
    ended = time.perf_counter()
    await eventually(lambda: system.answers("good", infer_body(ROW)))
    tell(f"{name}: others answer {time.perf_counter() - ended:.1f} s after the end")
    await eventually(lambda: system.says(name, why))


async def _nothing(_system: System) -> None:
    """The watchdog sees to it."""


async def _crash(system: System) -> None:
    """As a library would that follows a wild pointer, in the thread that computes."""
    await eventually(system.is_computing)
    [computing] = read_slots(system.slots).running
    assert system.process.pid
    ctypes.CDLL(None).tgkill(system.process.pid, computing.native, signal.SIGSEGV)


def tell(figure: str) -> None:
    sys.stdout.write(f"{figure}\n")


@asynccontextmanager
async def running(tmp_path: Path, good: Path) -> AsyncGenerator[System, None]:
    await _publish(tmp_path, good)
    port = free_port()
    told = {
        "BUS_URL": f"sqlite:///{tmp_path / 'bus'}",
        "ARTIFACTS_URL": f"file://{tmp_path / 'artifacts'}",
        "SCORER_CACHE_DIR": str(tmp_path / "cache"),
        "SCORER_PORT": str(port),
        "SCORER_GRPC_PORT": "0",
        "SCORER_ISOLATED_CALL_TIMEOUT": "1",
        "SCORER_ISOLATED_MEMORY": str(1 << 30),
        "SCORER_MEMORY_LIMIT": str(2 << 30),
    }
    program = Program(
        name="scorer",
        command=(sys.executable, "-m", "loopwright_scorer.main"),
        directory=tmp_path,
        log=tmp_path / "scorer.log",
        environment={**os.environ, **{f"LOOPWRIGHT_{name}": value for name, value in told.items()}},
    )
    process = SupervisedProcess(program, lambda _process, _end: None)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        system = System(http, process, tmp_path / "cache" / "computing")
        try:
            await eventually(lambda: system.answers("good", infer_body(ROW)))
            yield system
        finally:
            await process.stop()
            tell((tmp_path / "scorer.log").read_text()[-4000:])


async def _publish(tmp_path: Path, good: Path) -> None:
    """All of it before the scorer starts: one process at a time has the embedded bus."""
    (tmp_path / "bus").mkdir()
    store, bus = FilesystemStore(tmp_path / "artifacts"), await SqliteBus.open(tmp_path / "bus")
    made = {name: make(tmp_path / name) for name, make in {**ELSEWHERE, **HERE}.items()}
    for name, directory in {"good": good, **made}.items():
        digest = await store_package(store, directory)
        arms = [Arm(version=1, weight=1.0, role="live", digest=digest, format="onnx")]
        route = RoutesChanged(
            environment="production", model_id=name, model=name, revision=1, arms=arms
        )
        await bus.publish([new_event(route, key=f"production/{name}", subject=name)])
    await bus.close()

"""The running system: its processes may be killed at failpoints and are started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from benchmarks.project import COLUMNS

from loopwright.data_dir import Engine
from loopwright.engines.program import Program
from loopwright.fleet import Fleet, FleetLayout, ProcessExit, SupervisedProcess
from loopwright.ports import free_ports

_WITHOUT_SPARES = {
    "LOOPWRIGHT_SCORER_GRPC_PORT": "0",
    "LOOPWRIGHT_DEPLOYER_WARM_PROCESSES": "false",
}
"""What dies and starts again all the time has no use for what is started ahead."""
_LEASES = {"LOOPWRIGHT_TRAINER_LEASE_SECONDS": "3", "LOOPWRIGHT_DEPLOYER_LEASE_SECONDS": "3"}
"""Short, so that who is killed is soon replaced."""
_TOLD_TO_END = (0, -signal.SIGTERM)
"""A process that is told before it listens for signals dies of it."""
Events = list[dict[str, Any]]


class SystemHarness:
    """Keeps the system running; a kill at a failpoint is expected, any other end is an error.

    Embedded it is one process; on Kafka each service is one and dies alone.
    """

    def __init__(
        self,
        directory: Path,
        engine: Engine = Engine.EMBEDDED,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        self.directory = directory
        self.engine = engine
        self.replicas = replicas or {}
        self.killed: list[str] = []
        self.failpoint = ""
        self.before_start: Callable[[], object] = lambda: None
        self.urls: dict[str, str] = {}
        self.http = httpx.AsyncClient(timeout=240)
        self._ports = free_ports()
        self._faults: list[str] = []
        self._processes: Mapping[str, SupervisedProcess] = {}
        self._failpoints = directory / "failpoints"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "SystemHarness":
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}
        self.before_start()
        self._failpoints.mkdir()
        if self.engine is Engine.KAFKA:
            # Not in pytest's own directory, which it closes to PostgreSQL's user.
            data = self._stack.enter_context(TemporaryDirectory(prefix="loopwright-"))
            fleet = Fleet(
                FleetLayout(Path(data), self._ports, self.replicas, self._settings()),
                print,
            )
            fleet.on_exit = self._on_exit
            await self._stack.enter_async_context(fleet)
            self._processes = fleet.processes
        else:
            process = SupervisedProcess(self._embedded(), self._on_exit)
            self._stack.push_async_callback(process.stop)
            self._processes = {"embedded": process}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await self.http.aclose()

    @property
    def pid(self) -> int:
        pid = self._processes["embedded"].pid
        assert pid is not None
        return pid

    async def kill_at(self, failpoint: str) -> None:
        """The process that is to die there does when it next passes; it runs by now."""
        process = self._owner(failpoint)

        async def runs() -> bool:
            return process.pid is not None

        await self.until(f"{process.name} runs", runs)
        self.failpoint = failpoint
        partial = self._failpoints / "partial"
        partial.write_text(failpoint)
        partial.rename(self._failpoints / str(process.pid))

    async def restart(self) -> None:
        """Return once the embedded process, told to stop, has ended; it starts anew."""
        await self._processes["embedded"].restart()

    def kill(self, name: str) -> None:
        """At once: the process of that name, such as `scorer-2`."""
        self.failpoint = name
        pid = self._processes[name].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _owner(self, failpoint: str) -> SupervisedProcess:
        service = failpoint.partition(".")[0]
        if self.engine is Engine.EMBEDDED:
            service = "embedded"
        return self._processes.get(service) or self._processes["registry"]

    def _on_exit(self, process: SupervisedProcess, exited: ProcessExit) -> None:
        if (
            exited.status == -signal.SIGKILL
            and self.failpoint
            and process is self._owner(self.failpoint)
        ):
            self.killed.append(self.failpoint)
            self.failpoint = ""
        elif exited.status not in _TOLD_TO_END:
            self._faults.append(f"status {exited.status}: {process.program.last_words()}")
        self.before_start()

    async def get(self, service: str, path: str, **params: Any) -> Any:
        """The answer's JSON, or None while the system is away or has no answer yet."""
        try:
            answer = await self.http.get(self.urls[service] + path, params=params)
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    async def post(self, service: str, path: str, body: Any) -> Any:
        try:
            answer = await self.http.post(self.urls[service] + path, json=body)
        except httpx.TransportError:
            return None
        return answer if answer.is_success else None

    async def until(
        self, what: str, found: Callable[[], Awaitable[bool]], within: float = 600
    ) -> None:
        """Wait for something to become true, however often the system dies meanwhile."""
        try:
            async with asyncio.timeout(within):
                while not await found():
                    assert not self._faults, self._faults
                    await asyncio.sleep(0.1)
        except TimeoutError:
            logs = [process.program.last_words() for process in self._processes.values()]
            raise AssertionError("\n".join([f"never came true: {what}", *logs])) from None

    async def events(self, topic: str) -> Events:
        """Every archived event of a topic."""
        found: Events = []
        while True:
            after = found[-1]["position"] if found else 0
            page = await self.get("registry", "/v1/events", after=after, type=topic, limit=500)
            if not page or not page["items"]:
                return found
            found += page["items"]

    def _settings(self) -> Mapping[str, str]:
        here = {"LOOPWRIGHT_LOCAL_REPOSITORIES": str(self.directory)}
        return {**_LEASES, **_WITHOUT_SPARES, **self._told_where_to_die(), **here}

    def _told_where_to_die(self) -> Mapping[str, str]:
        return {"LOOPWRIGHT_FAILPOINT_DIRECTORY": str(self._failpoints)}

    def _embedded(self) -> Program:
        ports = {f"LOOPWRIGHT_{name.upper()}_PORT": str(p) for name, p in self._ports.items()}
        return Program(
            name="loopwright",
            command=(sys.executable, "-m", "loopwright", "up", "--data-dir", "data"),
            directory=self.directory,
            log=self.directory / "log",
            environment={
                **os.environ,
                **_WITHOUT_SPARES,
                **self._told_where_to_die(),
                **ports,
                "PYTHONDONTWRITEBYTECODE": "",
            },
        )


@asynccontextmanager
async def traffic(
    system: SystemHarness, model: str, shift: float = 0.0
) -> AsyncGenerator[None, None]:
    """Callers who keep asking, whatever happens, and tell the truth at once."""
    task = asyncio.create_task(_call(system, model, shift))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _call(system: SystemHarness, model: str, shift: float) -> None:
    number = 0
    while True:
        number += 1
        inputs = [_column(name, number, shift) for name in COLUMNS]
        answer = await system.post("scorer", f"/v2/models/{model}/infer", {"inputs": inputs})
        if answer is not None:
            given = answer.headers["loopwright-prediction-id"]
            rows = len(inputs[0]["data"])
            ids = [f"{given}.{row}" for row in range(rows)]
            labels = [row % 2 for row in range(rows)]
            await system.post(
                "scorer", "/v1/feedback", {"model": model, "ids": ids, "labels": labels}
            )
        await asyncio.sleep(0.05)


def _column(name: str, number: int, shift: float, rows: int = 8) -> dict[str, Any]:
    """Values that look as the training rows do, moved by `shift`; the same for the same number."""
    values = [((number * 37 + row * 11 + len(name)) % 97) / 24 - 2 + shift for row in range(rows)]
    return {"name": name, "shape": [rows], "datatype": "FP64", "data": values}


def data(event: dict[str, Any]) -> dict[str, Any]:
    found = event["data"]
    return found if isinstance(found, dict) else dict(json.loads(found))

"""The embedded system as a child process that may be killed at failpoints and is started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from benchmarks.project import COLUMNS

from loopwright.ports import free_ports
from loopwright_common import processes

Events = list[dict[str, Any]]


class House:
    """Keeps the system running; a kill at a failpoint is expected, any other end is an error."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.killed: list[str] = []
        self.failpoint = ""
        self.before_start: Callable[[], object] = lambda: None
        self.urls: dict[str, str] = {}
        self.http = httpx.AsyncClient(timeout=10)
        self._ports = free_ports()
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "House":
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._process and self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(15):
                    await self._process.wait()
            processes.kill_group(self._process.pid)
            await self._process.wait()
        await self.http.aclose()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def kill_at(self, failpoint: str) -> None:
        """From the next start on; the running system is told to start anew."""
        self.failpoint = failpoint
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()

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
        self, what: str, found: Callable[[], Awaitable[bool]], within: float = 60
    ) -> None:
        """Wait for something to become true, however often the system dies meanwhile."""
        try:
            async with asyncio.timeout(within):
                while not await found():
                    if self._keeper and self._keeper.done():
                        self._keeper.result()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            log = (self.directory / "log").read_text(errors="replace")[-3000:]
            raise AssertionError(f"never came true: {what}\n{log}") from None

    async def events(self, topic: str) -> Events:
        """Every archived event of a topic."""
        found: Events = []
        while True:
            after = found[-1]["position"] if found else 0
            page = await self.get("registry", "/v1/events", after=after, type=topic, limit=500)
            if not page or not page["items"]:
                return found
            found += page["items"]

    async def _keep(self) -> None:
        while True:
            self.before_start()
            self._process = await processes.start(
                [sys.executable, "-m", "loopwright", "up", "--data-dir", "data"],
                cwd=self.directory,
                env=self._environment(),
                output=self.directory / "log",
            )
            if await self._process.wait() == -signal.SIGKILL:
                self.killed.append(self.failpoint)
                self.failpoint = ""
            elif self._process.returncode != 0:
                raise AssertionError((self.directory / "log").read_text()[-3000:])

    def _environment(self) -> dict[str, str]:
        ports = {f"LOOPWRIGHT_{name.upper()}_PORT": str(p) for name, p in self._ports.items()}
        return {
            **os.environ,
            **ports,
            "PYTHONDONTWRITEBYTECODE": "",
            "LOOPWRIGHT_FAILPOINT": self.failpoint,
        }


@asynccontextmanager
async def traffic(house: House, model: str, shift: float = 0.0) -> AsyncGenerator[None, None]:
    """Callers who keep asking, whatever happens, and tell the truth at once."""
    task = asyncio.create_task(_call(house, model, shift))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _call(house: House, model: str, shift: float) -> None:
    number = 0
    while True:
        number += 1
        inputs = [_column(name, number, shift) for name in COLUMNS]
        answer = await house.post("scorer", f"/v2/models/{model}/infer", {"inputs": inputs})
        if answer is not None:
            given = answer.headers["loopwright-prediction-id"]
            rows = len(inputs[0]["data"])
            ids = [f"{given}.{row}" for row in range(rows)]
            labels = [row % 2 for row in range(rows)]
            await house.post(
                "scorer", "/v1/feedback", {"model": model, "ids": ids, "labels": labels}
            )
        await asyncio.sleep(0.02)


def _column(name: str, number: int, shift: float, rows: int = 8) -> dict[str, Any]:
    """Values that look as the training rows do, moved by `shift`; the same for the same number."""
    values = [((number * 37 + row * 11 + len(name)) % 97) / 24 - 2 + shift for row in range(rows)]
    return {"name": name, "shape": [rows], "datatype": "FP64", "data": values}


def data(event: dict[str, Any]) -> dict[str, Any]:
    found = event["data"]
    return found if isinstance(found, dict) else dict(json.loads(found))

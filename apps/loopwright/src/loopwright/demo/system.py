"""The running system as a child process, reached over HTTP only."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from loopwright.client import PORTS
from loopwright.data_dir import Engine
from loopwright.output import UP
from loopwright.ports import free_ports
from loopwright_common.errors import ConflictError, UnavailableError
from loopwright_common.process import subprocesses

_READY_WITHIN = 300.0
_STOP_WITHIN = 40.0
_MARK = "endpoints.json"


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where its services answer, and its log."""

    urls: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process

    def check(self) -> None:
        """Raise UnavailableError with the log's end when the process is gone."""
        if self.process.returncode is not None:
            raise UnavailableError(
                f"the system ended with status {self.process.returncode}:\n{tail(self.log)}"
            )


def prepare(directory: Path) -> None:
    """An empty directory; what an earlier demo left there is removed.

    ConflictError for one that holds anything else.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
        raise ConflictError(f"{directory} holds something else than a demo; give another --dir")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


@asynccontextmanager
async def running(
    directory: Path, engine: str = Engine.EMBEDDED, report: Callable[[str], None] = lambda _: None
) -> AsyncGenerator[System, None]:
    """Start the system on free ports, wait until it is ready, and leave nothing behind.

    UnavailableError says what did not start.
    """
    ports = free_ports(*PORTS, "scorer_grpc")
    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in PORTS}
    (directory / _MARK).write_text(json.dumps(urls, indent=2))
    log = directory / "loopwright.log"
    command = [sys.executable, "-m", "loopwright", "up", "--engine", engine]
    command += ["--data-dir", str(directory / "data")]
    process = await subprocesses.start(command, cwd=directory, env=_environment(ports), output=log)
    try:
        system = System(urls, log, process)
        if engine == Engine.KAFKA:
            await _started(system, report)
        await _ready(system)
        yield system
    finally:
        await _stop(process)


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _environment(ports: Mapping[str, int]) -> dict[str, str]:
    own = {f"LOOPWRIGHT_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **threads, **own}


async def _started(system: System, report: Callable[[str], None]) -> None:
    """Pass on what it says until it is up: it sets its own limits."""
    seen = 0
    while True:
        system.check()
        lines = system.log.read_text(errors="replace").splitlines()
        for line in lines[seen:]:
            if line.startswith(UP):
                return
            report(line)
        seen = len(lines)
        await asyncio.sleep(0.1)


async def _ready(system: System) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(_READY_WITHIN):
        for url in system.urls.values():
            while not await _is_ready(http, url):
                system.check()
                await asyncio.sleep(0.1)


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask, then insist; the whole session goes."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_WITHIN):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        subprocesses.kill_group(process.pid)
        await process.wait()

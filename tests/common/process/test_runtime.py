"""Services in a process: what ends it, in which order, and with which last line."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from loopwright.ports import free_port
from loopwright_common.errors import UnavailableError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.runtime import LoopFailedError, run_until
from loopwright_common.process.service import Service
from loopwright_common.web.app import create_app


def service(
    name: str, port: int = 0, loops: list[Callable[[], Awaitable[None]]] | None = None
) -> Service:
    metrics = Metrics()
    app = create_app(name, metrics, {})
    return Service(
        name=name, app=app, host="127.0.0.1", port=port, metrics=metrics, loops=loops or []
    )


async def test_a_port_in_use_is_named_before_anything_runs() -> None:
    ran: list[str] = []

    async def loop() -> None:
        ran.append("loop")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"{port}: Address already in use.*PROBE_PORT"):
            await run_until(asyncio.Event(), [service("probe", port, [loop])])
    assert ran == []


async def test_answers_leave_without_waiting_for_an_acknowledgement() -> None:
    probe, stop = service("probe", free_port()), asyncio.Event()
    running = asyncio.create_task(run_until(stop, [probe], started=stop.clear))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{probe.port}") as http:
        while (await get(http, "/livez")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not any(delaying(probe.port))
        assert delaying(probe.port)
    stop.set()
    await running


async def get(http: httpx.AsyncClient, path: str) -> httpx.Response | None:
    try:
        return await http.get(path)
    except httpx.TransportError:
        return None


def delaying(port: int) -> list[bool]:
    """For each connection that this process has accepted on the port: Nagle's delay is on."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=os.dup(int(entry)))
        except OSError:
            continue
        with one:
            if one.family == socket.AF_INET and is_accepted(one, port):
                found.append(not one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found


def is_accepted(one: socket.socket, port: int) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return bool(one.getsockname()[1] == port)


async def test_a_loop_that_fails_ends_everything_with_its_reason() -> None:
    async def failing() -> None:
        raise ValueError("no such luck")

    with pytest.raises(LoopFailedError, match=r"^probe: .*failing failed: ValueError\('no such"):
        await run_until(asyncio.Event(), [service("other"), service("probe", loops=[failing])])


async def test_a_loop_goes_on_after_a_passing_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_PAUSE_SECONDS", 0)
    stop = asyncio.Event()
    faults = [UnavailableError("the disk is full"), UnavailableError("still")]

    async def loop() -> None:
        if faults:
            raise faults.pop()
        stop.set()
        await asyncio.Event().wait()

    await run_until(stop, [service("probe", loops=[loop])])

    assert faults == []


async def test_services_stop_in_reverse_and_each_drains_before_its_loops_end() -> None:
    told: list[str] = []

    def with_story(name: str, port: int) -> Service:
        async def loop() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                told.append(f"{name} loop ends")

        async def drain() -> None:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"http://127.0.0.1:{port}/livez")
            told.append(f"{name} drains")

        made = service(name, port, [loop])
        made.on_stop.append(drain)
        return made

    stop = asyncio.Event()
    async with httpx.AsyncClient() as http:
        services = [with_story("first", free_port()), with_story("second", free_port())]
        await run_until(stop, services, started=stop.set)

    assert told == ["second drains", "second loop ends", "first drains", "first loop ends"]


async def test_a_drain_that_fails_does_not_keep_the_others() -> None:
    told: list[str] = []

    async def failing() -> None:
        raise UnavailableError("the bus is away")

    async def draining() -> None:
        told.append("drained")

    made = service("probe")
    made.on_stop += [failing, draining]
    stop = asyncio.Event()
    await run_until(stop, [made], started=stop.set)

    assert told == ["drained"]


STANDALONE = """
import asyncio, os, signal, sys
from loopwright_common.process import runtime
from loopwright_common.settings import ServiceSettings
from tests.common.process.test_runtime import service

class Settings(ServiceSettings):
    service = "probe"
    port: int = 0

async def loop():
    await asyncio.sleep(0.2)
    if sys.argv[1] == "fail":
        raise ValueError("no such luck")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)

async def build(settings, bus, stack):
    return service("probe", loops=[loop])

runtime.main(build, Settings())
"""


@pytest.mark.parametrize(("how", "status"), [("stop", 0), ("fail", 1)])
def test_a_process_ends_cleanly_when_told_and_with_a_clear_line_when_not(
    how: str, status: int, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STANDALONE, how],
        env={**os.environ, "LOOPWRIGHT_BUS_URL": f"sqlite:///{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == status, ended.stderr
    lines = ended.stderr.splitlines()
    if how == "stop":
        assert lines == []
    else:
        assert lines[-1] == "probe: loop failed: ValueError('no such luck')"


MIGRATING = """
from loopwright_common.process import runtime
from loopwright_common.settings import ServiceSettings
from tests.common.probe.service import VERSIONS

class Settings(ServiceSettings):
    service = "probe"
    port: int = 0

runtime.main(None, Settings(), VERSIONS)
"""


def test_the_migration_job_says_what_it_did_and_ends(database_url: str) -> None:
    def migrate() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", MIGRATING, "--migrate"],
            env={**os.environ, "LOOPWRIGHT_DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    assert '"migrated": ["d001", "p001"]' in migrate().stderr
    assert '"migrated": []' in migrate().stderr

"""`loopwright events tail` follows the registry, also over its restart."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from loopwright.ports import free_port
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.events import CodeChanged
from loopwright_common.process import runtime
from loopwright_registry.main import build
from loopwright_registry.settings import RegistrySettings
from tests.registry.builders import happened

# As in a terminal: what a shell starts in the background ignores Ctrl-C, and so do its children.
PROGRAM = """
import signal, sys
from loopwright.cli import app
signal.signal(signal.SIGINT, signal.default_int_handler)
app(sys.argv[1:])
"""


@pytest.fixture
def port() -> int:
    return free_port()


@asynccontextmanager
async def registry(
    bus: SqliteBus, database_url: str, tmp_path: Path, port: int
) -> AsyncGenerator[None, None]:
    settings = RegistrySettings(
        database_url=database_url, artifacts_url=f"file://{tmp_path}/artifacts", port=port
    )
    stop, started = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await build(settings, bus, stack)
        running = asyncio.create_task(runtime.run_until(stop, [service], started.set))
        await started.wait()
        yield
        stop.set()
        await running


@asynccontextmanager
async def tail(port: int, *options: str) -> AsyncGenerator[Process, None]:
    """Interrupted in the end, which is no failure."""
    url = {"LOOPWRIGHT_URL_REGISTRY": f"http://127.0.0.1:{port}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "events", "tail", *options,
        env={**os.environ, **url}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: Process) -> str:
    assert process.stdout
    return (await process.stdout.readline()).decode().strip()


async def complaint(process: Process) -> str:
    assert process.stderr
    return (await process.stderr.readline()).decode().strip()


async def say(bus: SqliteBus, *commits: str) -> None:
    for commit in commits:
        data = CodeChanged(repository="bank", ref="refs/heads/main", commit=commit, author="a@x")
        await bus.publish([encode(happened(data, f"event-{commit}", 0, "repositories/bank"))])


async def test_each_event_is_a_line_and_none_is_lost_or_repeated_over_a_restart(
    bus: SqliteBus, database_url: str, tmp_path: Path, port: int
) -> None:
    async with tail(port, "--after", "0") as following:
        away = await complaint(following)
        async with registry(bus, database_url, tmp_path, port):
            back = await complaint(following)
            await say(bus, "c1", "c2")
            before = [await line(following) for _ in range(2)]
        away_again = await complaint(following)
        await say(bus, "c3")
        async with registry(bus, database_url, tmp_path, port):
            after = await line(following)

    assert "does not answer" in away
    assert "trying again" in away_again
    assert "answers again" in back
    for text, commit in zip([*before, after], ("c1", "c2", "c3"), strict=True):
        assert text.endswith(f"code-changed  repositories/bank  commit {commit} by a@x")


async def test_as_json_each_line_is_the_event_and_only_those_asked_for_come(
    bus: SqliteBus, database_url: str, tmp_path: Path, port: int
) -> None:
    async with registry(bus, database_url, tmp_path, port):
        await say(bus, "c1")
        options = ("--after", "0", "--type", "code-changed", "--type", "drift-detected", "--json")
        async with tail(port, *options) as following:
            event = json.loads(await line(following))

    assert (event["id"], event["data"]["commit"]) == ("event-c1", "c1")
    assert event["position"] > 0


@pytest.mark.parametrize("options", [("--type", "nonsense"), ("--after", "99")])
async def test_what_the_registry_refuses_ends_with_its_reason(
    bus: SqliteBus, database_url: str, tmp_path: Path, port: int, options: tuple[str, ...]
) -> None:
    async with registry(bus, database_url, tmp_path, port):
        url = {"LOOPWRIGHT_URL_REGISTRY": f"http://127.0.0.1:{port}"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, "events", "tail", *options,
            env={**os.environ, **url}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        _, err = await process.communicate()

    assert process.returncode == 1
    assert options[0].strip("-") in err.decode()
    assert "Traceback" not in err.decode()

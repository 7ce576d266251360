"""What opens other people's packages sees its own directory and can be ended at any time."""

import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psutil
import pytest

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.sandbox import Level, Sandbox, detect
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import (
    ConfinedProcess,
    TransientError,
    require_plain_files,
)

LOOKS_AROUND = """
import json, os, socket, sys

def tried(act):
    try:
        return act() or True
    except OSError as error:
        return type(error).__name__

job = json.loads(sys.stdin.readline())
print(json.dumps({
    "variables": sorted(os.environ),
    "file": tried(lambda: open(job["file"]).read()),
    "written": tried(lambda: open(job["file"], "w").close()),
    "parent": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "connected": tried(lambda: socket.create_connection(("127.0.0.1", job["port"]), 2).close()),
    "own": tried(lambda: open(job["own"]).read()),
    "here": tried(lambda: open("result", "w").close()),
}), flush=True)
"""
DIES = (
    'import os, sys; sys.stdin.readline(); print(\'{"opening": "model.bin (thing)"}\', flush=True)'
)


@contextlib.asynccontextmanager
async def started(
    directory: Path, script: str, *, memory: int = 2 << 30, sandbox: Sandbox | None = None
) -> AsyncGenerator[ConfinedProcess, None]:
    command = ConfinedCommand(
        (sys.executable, "-c", script),
        sandbox or detect(),
        directory / "scratch",
        directory / "log",
        memory,
    )
    process = await ConfinedProcess.start(command)
    try:
        yield process
    finally:
        await process.close()


@pytest.mark.parametrize("level", [Level.PROCESS, Level.NAMESPACE])
async def test_it_has_nothing_of_ours_but_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    outside = tmp_path / "outside"
    outside.write_text("not yours")
    with socket.create_server(("127.0.0.1", 0)) as server:
        sandbox = detect(at_most=level)
        async with started(tmp_path, LOOKS_AROUND, sandbox=sandbox) as process:
            (process.directory / "job").write_text("yours")
            job: dict[str, Any] = {
                "file": str(outside),
                "port": server.getsockname()[1],
                "own": str(process.directory / "job"),
            }
            seen = await process.ask(job, 30)
            made = (process.directory / "result").exists()

    assert "AWS_SECRET_ACCESS_KEY" not in seen["variables"]
    assert (seen["own"], seen["here"], made) == ("yours", True, True)
    refused = [seen[name] for name in ("file", "written", "parent", "connected")]
    assert not any("s3cret" in str(each) or each in (True, "not yours") for each in refused), seen
    assert outside.read_text() == "not yours"
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), 11)", r"model\.bin \(thing\) ended the process .*SIGSEGV"),
        ("os._exit(3)", r"model\.bin \(thing\) ended the process .*status 3"),
        ("import time; time.sleep(600)", r"model\.bin \(thing\) was not open within 2 s"),
        ("print('no answer', flush=True)", r"model\.bin \(thing\): .*no answer"),
    ],
)
async def test_what_ends_it_is_named(tmp_path: Path, end: str, says: str) -> None:
    async with started(tmp_path, f"{DIES}; {end}") as process:
        with pytest.raises(InvalidError, match=says):
            await process.ask({}, 2)


async def test_memory_past_its_limit_ends_it_alone(tmp_path: Path) -> None:
    script = f"{DIES}; kept = bytearray(1 << 30)"
    async with started(tmp_path, script, memory=512 << 20) as process:
        with pytest.raises(InvalidError, match=r"model\.bin \(thing\) ended the process"):
            await process.ask({}, 30)


async def test_memory_past_its_limit_of_all_that_it_started_ends_it(tmp_path: Path) -> None:
    if (sandbox := detect()).cgroups is None or sandbox.cgroups.memory is None:
        pytest.skip(f"memory is limited by process alone: {sandbox.why_not_more}")
    script = (
        f"{DIES}; pids = [os.fork() for _ in range(3)]; kept = b'x' * (100 << 20);"
        " all(pids) or __import__('time').sleep(600); os.wait(); os._exit(1)"
    )
    async with started(tmp_path, script, memory=512 << 20) as process:
        with pytest.raises(InvalidError, match=r"out of memory: LOOPWRIGHT_DEPLOYER_STAGE_MEMORY"):
            await process.ask({}, 60)


async def test_all_that_it_started_ends_with_it(tmp_path: Path) -> None:
    script = f"{DIES}; os.fork() or (os.setsid(), os.fork()); import time; time.sleep(600)"
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    async with started(tmp_path, script) as process:
        with pytest.raises(InvalidError):
            await process.ask({}, 2)
        below = {each.pid for each in psutil.Process().children(recursive=True)} - before
    assert below
    psutil.wait_procs([psutil.Process(pid) for pid in below if psutil.pid_exists(pid)], timeout=10)
    assert not [pid for pid in below if psutil.pid_exists(pid)]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"error": "no signature"}', InvalidError),
        ('{"error": "index away", "transient": true}', TransientError),
    ],
)
async def test_its_own_words_are_told(tmp_path: Path, line: str, error: type[Exception]) -> None:
    async with started(tmp_path, f"import sys; sys.stdin.readline(); print({line!r})") as process:
        with pytest.raises(error, match=r"no signature|index away"):
            await process.ask({}, 30)


async def test_a_sandbox_that_cannot_be_set_up_blames_no_package(tmp_path: Path) -> None:
    script = f"{DIES}; os._exit(125)"
    async with started(tmp_path, script) as process:
        with pytest.raises(UnavailableError, match="sandbox could not be set up"):
            await process.ask({}, 30)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_not_taken(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model").write_text("plain")
    require_plain_files(tmp_path)

    if kind == "link":
        (tmp_path / "folder" / "odd").symlink_to("/etc/passwd")
    else:
        os.mkfifo(tmp_path / "folder" / "odd")
    with pytest.raises(InvalidError, match=r"odd is a (link|FIFO)"):
        require_plain_files(tmp_path)

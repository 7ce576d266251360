"""Killed at every named place, the trainer goes on after a restart: one version, said once."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.sandbox import Level, detect
from tests import forks
from tests.trainer.harness import (
    FILES,
    RecordingRegistry,
    Upstream,
    events,
    running,
    until,
)

FAILPOINTS = [
    "trainer.committed",
    "trainer.intake.handled",
    "trainer.claimed",
    "trainer.begun",
    "trainer.stage-started",
    "trainer.stage-ended",
    "artifacts.written",
    "trainer.outputs-kept",
    "trainer.stage-finished",
    "trainer.uploaded",
    "trainer.registered",
    "trainer.finishing",
]
SAMPLE = ["trainer.claimed", "trainer.stage-finished", "trainer.registered"]


@asynccontextmanager
async def serving(registry: RecordingRegistry) -> AsyncGenerator[str, None]:
    config = uvicorn.Config(registry.app(), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


@dataclass(frozen=True)
class Site:
    """Where a trainer works, and with what."""

    path: Path
    database_url: str
    registry: str
    upstream: Upstream


async def drive(site: Site, failpoint: str = "", **more: str) -> tuple[int, Any]:
    """How the driver ended, and the run it saw end."""
    out, err = site.path / "driver.out", site.path / "driver.err"
    process = forks.start(
        "tests.trainer.crash_process",
        *(site.path, site.registry, site.upstream.path),
        stdout=out,
        stderr=err,
        LOOPWRIGHT_DATABASE_URL=site.database_url,
        LOOPWRIGHT_FAILPOINT=failpoint,
        **more,
    )
    status = await asyncio.to_thread(process.wait, 240)
    assert status in (0, -signal.SIGKILL), err.read_text()
    return status, None if status else json.loads(out.read_text().splitlines()[-1])


@pytest.mark.parametrize("failpoint", SAMPLE)
async def test_a_run_goes_on_after_being_killed(
    failpoint: str,
    tmp_path: Path,
    database_url: str,
    upstream: Upstream,
    registry: RecordingRegistry,
) -> None:
    await survive(failpoint, tmp_path, database_url, upstream, registry)


@pytest.mark.crash
@pytest.mark.parametrize("failpoint", [point for point in FAILPOINTS if point not in SAMPLE])
async def test_a_run_goes_on_after_being_killed_anywhere(
    failpoint: str,
    tmp_path: Path,
    database_url: str,
    upstream: Upstream,
    registry: RecordingRegistry,
) -> None:
    await survive(failpoint, tmp_path, database_url, upstream, registry)


async def survive(
    failpoint: str,
    tmp_path: Path,
    database_url: str,
    upstream: Upstream,
    registry: RecordingRegistry,
) -> None:
    marked = "import os; os.umask(0)\n"  # each attempt may be another user
    marked += f"open('{upstream.beside('log')}', 'a').write('x')\n" + FILES["prepare.py"]
    upstream.commit({"prepare.py": marked})
    async with serving(registry) as url:
        site = Site(tmp_path, database_url, url, upstream)
        killed, _ = await drive(site, failpoint)
        ended, run = await drive(site)

    assert (killed, ended) == (-signal.SIGKILL, 0)
    assert run["status"] == "succeeded", run["why"]
    assert [version["tags"]["loopwright.run"] for version in registry.versions] == [run["id"]]
    assert len(registry.runs) == 1, "the tracking run is found again"
    bus = await SqliteBus.open(tmp_path / "bus")
    told = [await events(bus, topic) for topic in ("training-finished", "code-changed")]
    await bus.close()
    assert [len(each) for each in told] == [1, 1]
    if failpoint == "trainer.stage-finished":
        assert upstream.noted("log") == "x", "the finished stage is not repeated"


async def test_a_run_during_which_three_trainers_died_fails(
    tmp_path: Path, database_url: str, upstream: Upstream, registry: RecordingRegistry
) -> None:
    async with serving(registry) as url:
        site = Site(tmp_path, database_url, url, upstream)
        killed = [await drive(site, "trainer.stage-started") for _ in range(3)]
        _, run = await drive(site)

    assert [status for status, _ in killed] == [-signal.SIGKILL] * 3
    assert (run["status"], run["why"]) == ("failed", "the trainer died 3 times during this run")


async def test_a_run_outlives_any_number_of_orderly_restarts(
    tmp_path: Path,
    bus: SqliteBus,
    database_url: str,
    upstream: Upstream,
    registry: RecordingRegistry,
) -> None:
    """Each stop gives the run back, so that it counts as no death."""
    log = upstream.beside("log")
    waits = (
        f"import os, time\nos.umask(0)\nlog = open('{log}', 'a+')\nlog.write('x')\nlog.flush()\n"
        "log.seek(0)\nif len(log.read()) < 6: time.sleep(300)\n"
    )
    commit = upstream.commit({"prepare.py": waits + FILES["prepare.py"]})
    for stops in range(1, 6):
        async with running(tmp_path, bus, registry, database_url=database_url) as trainer:
            if stops == 1:
                await trainer.post("/v1/repositories", name="toy", url=str(upstream.path))
            await until(lambda stops=stops: _has_begun(upstream, stops))  # type: ignore[misc]
    async with running(tmp_path, bus, registry, database_url=database_url) as trainer:
        run = await trainer.ended(commit)

    assert (run["status"], upstream.noted("log")) == ("succeeded", 6 * "x"), run["why"]


async def _has_begun(upstream: Upstream, times: int) -> bool:
    return len(upstream.noted("log")) == times


@pytest.mark.parametrize("level", [Level.NAMESPACE, Level.PROCESS])
@pytest.mark.parametrize("noted", [True, False])
async def test_processes_of_a_killed_trainer_do_not_survive_its_restart(
    noted: bool,
    level: Level,
    tmp_path: Path,
    database_url: str,
    upstream: Upstream,
    registry: RecordingRegistry,
) -> None:
    """Nor do those that it had not noted yet when it was killed."""
    path, seconds = upstream.beside("started"), 300 + os.getpid() / 10**9
    orphan = (
        f"import subprocess, time, os\nif not os.path.exists('{path}'):\n"
        f" subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)\n"
        f" open('{path}', 'w').write('x')\n time.sleep(300)\n"
    )
    upstream.commit({"prepare.py": orphan + FILES["prepare.py"]})
    async with serving(registry) as url:
        site = Site(tmp_path, database_url, url, upstream)
        place = "trainer.stage-started" if noted else "trainer.stage-begun"
        levels = {"DRIVER_LEVEL": level.value, "DRIVER_DIES_AFTER": str(path)}
        killed, _ = await drive(site, place, **levels)
        assert killed == -signal.SIGKILL
        if detect(level).level is Level.NAMESPACE:
            await until(lambda: _is_gone(seconds))  # with the trainer
        _, run = await drive(site, DRIVER_LEVEL=level.value)

    assert run["status"] == "succeeded"
    assert await _is_gone(seconds)


async def _is_gone(seconds: float) -> bool:
    """Whether nothing sleeps for so long; a process has another id inside its sandbox."""
    found = [p.info for p in psutil.process_iter(["cmdline", "status"])]
    return all(
        info["cmdline"] != ["sleep", str(seconds)] or info["status"] == psutil.STATUS_ZOMBIE
        for info in found
    )

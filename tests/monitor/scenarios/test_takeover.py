"""Two monitors as processes on Kafka and PostgreSQL; whoever is killed, the other goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopwright.ports import free_port
from loopwright_common.bus.topics import all_topics
from loopwright_common.process.bus_factory import open_bus
from loopwright_common.process.declare_topics import ensure_topics
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_monitor.watched.repository import WatchedModel, WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersions
from tests.common.probe.service import waiting
from tests.monitor.crash_process import ROWS, outcome_of, say_champion, say_rows
from tests.monitor.harness import MonitorHarness

FAILPOINTS = [
    "monitor.detect.handled:1",
    *(
        pytest.param(name, marks=pytest.mark.crash)
        for name in (
            "monitor.captured-file:2",
            "monitor.capture.handled:1",
            "monitor.lifecycle.handled:1",
            "monitor.profile-built:1",
            "monitor.alarm:1",
            "monitor.manifest-file:1",
            "monitor.asked:1",
            "monitor.published:1",
        )
    ),
]


class Monitors:
    """Processes of the service; one that was killed by its failpoint is started again without."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        self.killed = 0
        self._settings = settings
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, failpoint: str = "") -> None:
        own = {
            "LOOPWRIGHT_MONITOR_PORT": str(free_port()),
            "LOOPWRIGHT_FAILPOINT": failpoint,
        }
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "loopwright_monitor.main"]
            environment = {**os.environ, **self._settings, **own}
            self._running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(240):
            while not await holds():
                self._replace_killed()
                await asyncio.sleep(0.2)

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(20)

    def _replace_killed(self) -> None:
        for process in [each for each in self._running if each.poll() is not None]:
            assert process.returncode == -signal.SIGKILL, self._log.read_text()[-3000:]
            self.killed += 1
            self._running.remove(process)
            self.start()


@pytest.fixture
async def killable(
    tmp_path: Path, kafka_url: str, postgres_url: str
) -> AsyncGenerator[tuple[MonitorHarness, Monitors], None]:
    prefix = f"{uuid.uuid4().hex[:8]}."
    await ensure_topics(kafka_url, prefix, all_topics())
    settings = {
        "LOOPWRIGHT_DATABASE_URL": postgres_url,
        "LOOPWRIGHT_BUS_URL": kafka_url,
        "LOOPWRIGHT_TOPIC_PREFIX": prefix,
        "LOOPWRIGHT_ARTIFACTS_URL": f"file://{tmp_path / 'store'}",
        # The rows bear a date long past, and whoever starts forgets what is older than this.
        "LOOPWRIGHT_MONITOR_LABEL_HORIZON": "P36500D",
    }
    monitors = Monitors(settings, tmp_path / "monitors.log")
    async with AsyncExitStack() as stack:
        bus = await open_bus(kafka_url, prefix)
        stack.push_async_callback(bus.close)
        stack.callback(monitors.stop)
        yield (
            await MonitorHarness.open(
                stack, postgres_url, bus, FilesystemStore(tmp_path / "store")
            ),
            monitors,
        )


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_a_monitor_that_is_killed_is_replaced_without_loss(
    killable: tuple[MonitorHarness, Monitors],
    failpoint: str,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    harness, monitors = killable
    for _ in range(2):
        monitors.start(failpoint)
    rng = np.random.default_rng(0)

    await say_champion(harness, rng)
    await monitors.until(lambda: is_watched(harness))
    await say_rows(harness, rng)
    await monitors.until(lambda: is_done(harness))

    assert monitors.killed > 0
    assert await outcome_of(harness, tmp_path) == undisturbed


async def is_watched(harness: MonitorHarness) -> bool:
    async with harness.database.read() as connection:
        version = await WatchedVersions(connection).get("m1", 1)
    model = await model_of(harness)
    ready = version is not None and version.profile_state == "ready"
    return ready and model is not None and model.champion == 1


async def is_done(harness: MonitorHarness) -> bool:
    model = await model_of(harness)
    done = model is not None and model.rows == model.captured == model.labelled == ROWS
    asked = done and bool(await harness.told("retrain-requested"))
    return asked and not await waiting(harness.database)


async def model_of(harness: MonitorHarness) -> WatchedModel | None:
    async with harness.database.read() as connection:
        return await WatchedModels(connection).get("m1")

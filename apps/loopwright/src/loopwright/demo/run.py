"""The demo from start to end: start the system, live through the stream, tell the story."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from loopwright.client import complaint
from loopwright.data_dir import Engine
from loopwright.demo import system
from loopwright.demo.client import calls
from loopwright.demo.client.archive_watch import ArchiveWatch
from loopwright.demo.client.call_stream import CallStream
from loopwright.demo.client.pace import MonitorLag, Pacing, busy_pace
from loopwright.demo.client.retrying_transport import RetryingTransport
from loopwright.demo.client.scoring_client import ScoringClient
from loopwright.demo.progress import Progress
from loopwright.demo.story import report, story
from loopwright.demo.story.statistics import log_losses
from loopwright.demo.system import System
from loopwright.examples import Example, write_example
from loopwright_common import clock
from loopwright_common.errors import LoopwrightError, UnavailableError

MODEL = "bank-marketing"
_FIRST_VERSION_WITHIN = 600.0
_RECENT = 2_000
_WIDTH = 160
"""Columns where no terminal tells its own, such as in a build's log."""


async def run(directory: Path, rows: int | None, engine: Engine) -> int:
    """Run the demo: 0 when the loop closed honestly, else 1 with the reason on the screen."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        system.prepare(directory)
        with Progress(console) as progress:
            finished = await _live(directory, rows, engine, progress)
    except (LoopwrightError, BaseExceptionGroup) as error:
        if (reason := _reason(error)) is None:
            raise
        console.print(reason, style="red", markup=False)
        console.print(f"the system's log: {directory / 'loopwright.log'}", markup=False)
        return 1
    report.show(finished, console)
    report.write(finished, directory)
    console.print(f"\nthe story stays in {directory / 'story.md'}", markup=False)
    return 0 if finished.judgement.passed else 1


async def _live(
    directory: Path, rows: int | None, engine: Engine, progress: Progress
) -> story.Story:
    started = clock.now()
    progress.show_step(f"starting {engine.described}")
    limits = httpx.Limits(max_keepalive_connections=8, max_connections=16)
    connections = httpx.AsyncHTTPTransport(limits=limits)
    async with (
        system.running(directory, engine, progress.show_step) as running,
        httpx.AsyncClient(
            timeout=120, transport=RetryingTransport(connections, running.check)
        ) as http,
    ):
        watch = ArchiveWatch(http, running.urls["registry"], progress.show_event)
        await _add_repository(http, running, directory / "bank")
        seconds = await _until_first_version(watch, running, progress)
        progress.show_step("version 1 serves; the bank starts to call its clients")
        lag = MonitorLag(http, running.urls["monitor"])
        stream = CallStream(
            calls.load(rows),
            ScoringClient(http, running.urls["scorer"], MODEL),
            Pacing(lag, lambda: watch.busy, busy_pace(seconds)),
        )
        background = Background(watch, lag, running, stream, progress)
        await background.during(stream.run())
        await watch.read_new()
        return story.build_story(watch.events, stream.served, started, watch.counted, engine)


@dataclass(frozen=True, slots=True)
class Background:
    """What goes on beside the stream: following events, the live line, a look at the child."""

    watch: ArchiveWatch
    lag: MonitorLag
    system: System
    stream: CallStream
    progress: Progress

    async def during(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the work and stop with it; either's failure ends both."""
        async with asyncio.TaskGroup() as group:
            follow = (self.watch.follow(), self.lag.follow(), self._show())
            beside = [group.create_task(each) for each in follow]
            await group.create_task(work)
            for task in beside:
                task.cancel()

    async def _show(self) -> None:
        row, at = 0, time.monotonic()
        while True:
            await asyncio.sleep(0.5)
            self.system.check()
            rate = (self.stream.answered - row) / (time.monotonic() - at)
            row, at = self.stream.answered, time.monotonic()
            self.progress.show_line(lambda rate=rate: self._line(rate))  # type: ignore[misc]

    def _line(self, rate: float) -> str:
        stream = self.stream
        position = f"{stream.answered:,} of {len(stream.calls):,} calls, {rate:,.0f}/s"
        waits = "; waits for the monitor" if self.lag.is_far_behind else ""
        state = f"champion {self.watch.champion}; {self.watch.state}{waits}"
        return f"{position}; {state}{self._losses()}"

    def _losses(self) -> str:
        served = self.stream.served
        (known,) = np.nonzero(
            np.isfinite(served.probability) & np.isfinite(served.frozen_probability)
        )
        rows = known[-_RECENT:]
        if len(rows) < _RECENT:
            return ""
        ours = log_losses(served.yes[rows], served.probability[rows]).mean()
        frozen = log_losses(served.yes[rows], served.frozen_probability[rows]).mean()
        return f"; recent log loss {ours:.3f}, version 1 {frozen:.3f}"


async def _add_repository(http: httpx.AsyncClient, running: System, directory: Path) -> None:
    write_example(Example.BANK, directory)
    body = {"name": "bank", "url": str(directory), "branch": "main"}
    answer = await http.post(f"{running.urls['trainer']}/v1/repositories", json=body)
    if answer.is_error:
        raise UnavailableError(complaint("trainer", answer))


async def _until_first_version(watch: ArchiveWatch, running: System, progress: Progress) -> float:
    """The seconds until a champion serves; UnavailableError with the reason when none will."""
    started = time.monotonic()
    while watch.champion is None:
        running.check()
        await watch.read_new()
        for event in watch.events:
            failed = event.topic == "training-finished" and event.data["status"] != "succeeded"
            refused = event.topic == "deployment-finished" and event.data["outcome"] != "promoted"
            if failed or refused:
                raise UnavailableError(f"the first version did not serve: {event.data['why']}")
        if time.monotonic() > started + _FIRST_VERSION_WITHIN:
            raise UnavailableError(
                f"no version served within {_FIRST_VERSION_WITHIN:.0f} s; last: {watch.state}"
            )
        progress.show_line(lambda: f"waiting for the first version; {watch.state}")
        await asyncio.sleep(0.1)
    return time.monotonic() - started


def _reason(error: BaseException) -> str | None:
    """The first failure with a sentence; None when something else went wrong."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := _reason(part))), None)
    return str(error) if isinstance(error, LoopwrightError) else None

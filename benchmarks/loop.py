"""From a commit to the champion that answers: how long the loop takes by itself.

The pipeline has one stage that copies a committed ONNX package; each run is the first version of a
new model, on a running system whose warm processes are ready. Prints seconds per part.

    python -m benchmarks.loop [RUNS] [--engine embedded|kafka]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks import project
from loopwright.data_dir import Engine
from loopwright.demo import system

_WITHIN = 60.0
_WARM_UP = 15.0
_PARTS = ("code-changed", "model-registered", "deployment-validated", "deployment-promoted")


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds from the commit to each event, and to the first answer of the new champion."""

    seconds: dict[str, float]


async def main(runs: int, engine: Engine) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "system").mkdir()
        async with system.running(place / "system", engine) as running, httpx.AsyncClient() as http:
            await asyncio.sleep(_WARM_UP)
            done = []
            for number in range(runs + 1):
                done.append(
                    await _measure(http, running.urls, place / "system", f"copied-{number}")
                )
                await asyncio.sleep(5)
            _report(done[1:], engine)


async def _measure(http: httpx.AsyncClient, urls: Mapping[str, str], place: Path, name: str) -> Run:
    repository = project.write(place / name, name)
    project.commit(repository, "Copy the package")
    started, clock = time.time(), time.perf_counter()
    new = {"name": name, "url": str(repository)}
    (await http.post(f"{urls['trainer']}/v1/repositories", json=new)).raise_for_status()
    await _until_answering(http, f"{urls['scorer']}/v2/models/{name}/ready")
    seconds = {"answering": time.perf_counter() - clock}
    while "deployment-promoted" not in seconds:
        events = await http.get(f"{urls['registry']}/v1/events", params={"limit": 500})
        for event in events.json()["items"]:
            topic = event["type"].split(".")[2]
            moment = datetime.fromisoformat(event["time"]).timestamp()
            if topic in _PARTS and moment >= started - 0.01:
                seconds[topic] = moment - started
        await asyncio.sleep(0.1)
    return Run(seconds)


async def _until_answering(http: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(_WITHIN):
        while (await http.get(url)).status_code != 200:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.02)


def _report(runs: list[Run], engine: Engine) -> None:
    print(engine.described)
    print(f"commit to champion, {len(runs)} runs, seconds since the commit")
    print(f"{'':22}{'min':>8}{'median':>8}{'max':>8}")
    for part in (*_PARTS[:3], "answering", _PARTS[3]):
        values = [run.seconds[part] for run in runs if part in run.seconds]
        if values:
            row = (min(values), statistics.median(values), max(values))
            print(f"{part:22}" + "".join(f"{value:8.2f}" for value in row))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=5)
    parser.add_argument("--engine", type=Engine, choices=list(Engine), default=Engine.EMBEDDED)
    asked = parser.parse_args()
    asyncio.run(main(asked.runs, asked.engine))

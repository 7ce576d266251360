"""Memory of the running loop over a long time: commits, deployments, traffic, labels, drift.

Every minute a commit makes a new version, deployed by canary under steady traffic; every quarter of
an hour the inputs move, so the monitor alarms. Prints, per process, the memory it did not share
(PSS, MiB) early and late, and its slope after the warm-up, in percent of its mean per hour.

    python -m benchmarks.soak [--engine embedded|kafka] [--minutes 60] [--samples FILE.csv]
"""

import argparse
import asyncio
import csv
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from benchmarks import project
from benchmarks.memory import pss
from loopwright.demo import system

_NAME = "soaked"
_SAMPLE_SECONDS = 10.0
_COMMIT_SECONDS = 60.0
_SHIFT_SECONDS = 900.0
_CALL_SECONDS = 0.1
_ROWS = 8
Samples = dict[str, list[tuple[float, float]]]
"""Seconds since the start and MiB, by process."""


async def main(engine: str, minutes: float, file: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "system").mkdir()
        async with system.running(place / "system", engine) as running, httpx.AsyncClient() as http:
            counts: dict[str, int] = defaultdict(int)
            async with asyncio.TaskGroup() as group:
                work = [
                    group.create_task(_commit(http, running.urls, place / "system" / "repository")),
                    group.create_task(_call(http, running.urls["scorer"], counts)),
                ]
                samples = await _watch(running, minutes * 60)
                for task in work:
                    task.cancel()
            counts["events"] = await _newest(http, running.urls)
            _report(engine, samples, counts)
            if file:
                _write(samples, file)


async def _commit(http: httpx.AsyncClient, urls: Mapping[str, str], directory: Path) -> None:
    repository = project.write(directory, _NAME)
    project.commit(repository, "Copy the package")
    new = {"name": _NAME, "url": str(repository)}
    (await http.post(f"{urls['trainer']}/v1/repositories", json=new)).raise_for_status()
    number = 0
    while True:
        await asyncio.sleep(_COMMIT_SECONDS)
        number += 1
        (repository / "seed.txt").write_text(f"{number}\n")
        await asyncio.to_thread(project.commit, repository, f"Version {number}")


async def _call(http: httpx.AsyncClient, url: str, counts: dict[str, int]) -> None:
    started = time.monotonic()
    while True:
        counts["calls"] += 1
        shift = 2.0 if (time.monotonic() - started) // _SHIFT_SECONDS % 2 else 0.0
        with suppress(httpx.TransportError):
            await _call_once(http, url, counts, shift)
        await asyncio.sleep(_CALL_SECONDS)


async def _call_once(
    http: httpx.AsyncClient, url: str, counts: dict[str, int], shift: float
) -> None:
    number = counts["calls"]
    inputs = [_column(name, number, shift) for name in project.COLUMNS]
    answer = await http.post(f"{url}/v2/models/{_NAME}/infer", json={"inputs": inputs})
    if answer.status_code != 200:
        counts["failed"] += counts["answered"] > 0
        return
    counts["answered"] += 1
    given = answer.headers["loopwright-prediction-id"]
    labels = {
        "model": _NAME,
        "ids": [f"{given}.{row}" for row in range(_ROWS)],
        "labels": [(number + row) % 2 for row in range(_ROWS)],
    }
    await http.post(f"{url}/v1/feedback", json=labels)


def _column(name: str, number: int, shift: float) -> dict[str, object]:
    values = [((number * 37 + row * 11 + len(name)) % 97) / 24 - 2 + shift for row in range(_ROWS)]
    return {"name": name, "shape": [_ROWS], "datatype": "FP64", "data": values}


async def _watch(running: system.System, seconds: float) -> Samples:
    samples: Samples = defaultdict(list)
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        running.check()
        for name, memory in (await asyncio.to_thread(_memory, running.process.pid)).items():
            samples[name].append((passed, memory))
        await asyncio.sleep(_SAMPLE_SECONDS)
    return samples


def _memory(pid: int) -> dict[str, float]:
    """MiB of the long-lived processes; stages and the like come and go under `others`."""
    found: dict[str, float] = defaultdict(float)
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.Error, OSError):
            found[_name_of(process, pid)] += pss(process.pid)
    return found


def _name_of(process: psutil.Process, pid: int) -> str:
    command = " ".join(process.cmdline())
    for name in ("registry", "trainer", "deployer", "scorer", "monitor"):
        if f"loopwright_{name}.main" in command and "--static" not in command:
            return name
    if "kafka.Kafka" in command:
        return "kafka"
    if "postgres" in command:
        return "postgres"
    return "loopwright up" if process.pid == pid else "others"


async def _newest(http: httpx.AsyncClient, urls: Mapping[str, str]) -> int:
    answer = await http.get(f"{urls['registry']}/v1/events", params={"last": 1})
    items = answer.json()["items"]
    return int(items[-1]["position"]) if items else 0


def _report(engine: str, samples: Samples, counts: Mapping[str, int]) -> None:
    print(f"engine {engine}: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    print(f"{'PSS, MiB':14}{'early':>9}{'late':>9}{'peak':>9}{'slope %/h':>11}")
    for name, found in sorted(samples.items()):
        warm = found[len(found) // 4 :]
        if len(warm) < 8:
            continue
        values = [memory for _, memory in warm]
        quarter = max(len(warm) // 4, 1)
        early, late = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
        slope = statistics.linear_regression([at / 3600 for at, _ in warm], values).slope
        percent = 100 * slope / statistics.fmean(values)
        print(f"{name:14}{early:9.1f}{late:9.1f}{max(values):9.1f}{percent:11.2f}")


def _write(samples: Samples, file: Path) -> None:
    with file.open("w", newline="") as sink:
        rows = csv.writer(sink)
        rows.writerow(["process", "seconds", "mib"])
        for name, found in samples.items():
            rows.writerows([name, f"{at:.0f}", f"{memory:.1f}"] for at, memory in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--samples", type=Path)
    given = parser.parse_args()
    asyncio.run(main(given.engine, given.minutes, given.samples))

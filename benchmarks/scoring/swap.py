"""Latency while versions are swapped, beside that of the same load while nothing changes.

A scorer under constant load is told again and again to serve another version, which it fetches,
verifies, opens and warms each time, since the one before is forgotten. An answer that is no 200
ends it.

    python -m benchmarks.scoring.swap [--models logistic,forest] [--seconds 40] [--rounds 3]
"""

import argparse
import asyncio
import json
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.scoring import loopwright, models
from benchmarks.scoring.load import Result
from benchmarks.scoring.measure import Case, measure
from benchmarks.scoring.models import Model
from benchmarks.scoring.protocols import Question
from benchmarks.scoring.running import Running, running, scratch
from benchmarks.scoring.servers import LOOPWRIGHT, SERVERS, Command
from loopwright.ports import free_port
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.serving.spec import SPEC_FILE
from loopwright_common.storage import FilesystemStore, store_package

_SERVICE = Path(__file__).parent / "services" / "swapping.py"
_SWAPS = 100
_PAUSE_SECONDS = 0.1
_CASE = Case(1, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring.swap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default="logistic,forest", help=f"of {list(models.MAKERS)}")
    parser.add_argument("--seconds", type=float, default=40, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for name in asked.models.split(","):
        with scratch() as place:
            _compare(models.make(name, place), place / name, asked.seconds, asked.rounds)


def _compare(model: Model, place: Path, seconds: float, rounds: int) -> None:
    port = free_port()
    _, variables = loopwright.prepare(model, place, port)
    routes = place / "routes"
    routes.mkdir()
    arguments = [sys.executable, str(_SERVICE), str(routes)]
    questions = _CASE.questions(model, SERVERS[LOOPWRIGHT].spoken)
    ratios = []
    with running(LOOPWRIGHT, Command(arguments, variables), port, place) as server:
        server.wait_for(questions[0])
        swapper = Swapper(server, model, place)
        for number in range(rounds):
            still = measure(server, questions, _CASE.connections, seconds)
            swapped, count = _while_swapping(swapper, server, questions, seconds)
            ratios.append(swapped.p99 / still.p99)
            print(
                f"{model.name}, round {number + 1}: {_told(still)};"
                f" through {count} swaps: {_told(swapped)}; p99 times {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"{model.name}: p99 through swaps is {median(ratios):.2f} times that without")


def _told(result: Result) -> str:
    rate = result.answered / result.seconds
    return f"{rate:,.0f}/s, p50 {result.p50:.2f} ms, p99 {result.p99:.2f} ms"


def _while_swapping(
    swapper: "Swapper", server: Running, questions: Sequence[Question], seconds: float
) -> tuple[Result, int]:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        swapping = threads.submit(swapper.run, stop)
        try:
            result = measure(server, questions, _CASE.connections, seconds)
        finally:
            stop.set()
        count = swapping.result()
    if count < _SWAPS:
        print(f"only {count} swaps in {seconds:g} s; give it more --seconds", file=sys.stderr)
    return result, count


class Swapper:
    """Routes a model to two packages in turn."""

    def __init__(self, server: Running, model: Model, place: Path) -> None:
        self._server = server
        self._name = model.name
        self._place = place
        self._revision = 1
        twin = place / "twin"
        shutil.copytree(model.serving, twin)
        spec = json.loads((twin / SPEC_FILE).read_text())
        (twin / SPEC_FILE).write_text(json.dumps({**spec, "source_digest": "sha256:" + "1" * 64}))
        self._packages = [model.serving, twin]

    def run(self, stop: threading.Event) -> int:
        """Swap until told to stop; returns how often."""
        return asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> int:
        store = FilesystemStore(self._place / "artifacts")
        digests = [await store_package(store, package) for package in self._packages]
        first = self._revision
        while not stop.is_set():
            self._revision += 1
            data = RoutesChanged(
                environment="production",
                model_id=self._name,
                model=self._name,
                revision=self._revision,
                arms=[_arm(self._revision, digests)],
            )
            written = self._place / "routes" / f"{self._revision}.new"
            written.write_bytes(data.to_bytes())
            written.rename(written.with_suffix(".json"))
            await self._served(stop)
            await asyncio.sleep(_PAUSE_SECONDS)
        return self._revision - first

    async def _served(self, stop: threading.Event) -> None:
        while not stop.is_set():
            answer = await asyncio.to_thread(self._server.http.get, "/v1/models")
            if answer.json()["items"][0]["revision"] == self._revision:
                return
            await asyncio.sleep(0.02)


def _arm(revision: int, digests: Sequence[str]) -> Arm:
    return Arm(version=revision, weight=1.0, digest=digests[revision % 2], format="onnx")


if __name__ == "__main__":
    main()

"""What publishing to the embedded event log costs an event loop that has no time to spare.

The loop computes some 50 µs between system calls, as a busy scorer does; four times a second a
batch of 700 kB is published. Rounds with and without take turns.

    python -m benchmarks.busy_loop [--rounds 6] [--seconds 2]
"""

import argparse
import asyncio
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents import OutgoingRecord

_BATCH = 700_000
_PAUSE = 0.25


@dataclass
class Busy:
    """Work that never ends; `done` counts its units."""

    done: int = 0

    async def work(self) -> None:
        near, far = socket.socketpair()
        with near, far:
            while True:
                for _ in range(16):
                    sum(i * i for i in range(900))
                    near.send(b"x")
                    far.recv(1)
                    self.done += 1
                await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Round:
    """CPU in seconds a unit of work; `waits` of the publishes, in seconds."""

    unit_cpu: float
    units: int
    waits: Sequence[float]


async def measure(
    log: SqliteBus, busy: Busy, seconds: float, record: OutgoingRecord | None
) -> Round:
    began, cpu, done = time.perf_counter(), time.process_time(), busy.done
    waits: list[float] = []
    while time.perf_counter() - began < seconds:
        if record is not None:
            asked = time.perf_counter()
            await log.publish([record])
            waits.append(time.perf_counter() - asked)
        await asyncio.sleep(_PAUSE)
    units = busy.done - done
    return Round((time.process_time() - cpu) / units, units, waits)


async def run(rounds: int, seconds: float) -> None:
    record = OutgoingRecord("inference-logged", "key", {"ce_id": "1"}, os.urandom(_BATCH))
    with tempfile.TemporaryDirectory() as directory:
        log = await SqliteBus.open(Path(directory))
        busy = Busy()
        work = asyncio.create_task(busy.work())
        pairs = [
            (await measure(log, busy, seconds, None), await measure(log, busy, seconds, record))
            for _ in range(rounds)
        ]
        work.cancel()
        await log.close()
    costs = [(w.unit_cpu - o.unit_cpu) * w.units / len(w.waits) * 1e3 for o, w in pairs]
    waits = [wait * 1e3 for _, w in pairs for wait in w.waits]
    print("| of a publish, ms | median | lowest | highest |\n| --- | --: | --: | --: |")
    for name, values in (("wait", waits), ("CPU", costs)):
        told = (statistics.median(values), min(values), max(values))
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in told) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    uvloop.run(run(given.rounds, given.seconds))


if __name__ == "__main__":
    main()

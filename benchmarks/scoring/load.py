"""The load generator, a process of its own: closed loop over kept connections, prebuilt requests.

Reads a line of JSON (`Job`) and then the requests' bytes from standard input; prints a line of JSON
(`Result`). Any answer but a 200 ends it.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, field

import numpy as np
import psutil
import uvloop

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """`sizes` in bytes of each request; `pid` of the server whose CPU time is read."""

    port: int
    pid: int
    connections: int
    warm_up: float
    seconds: float
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class Result:
    """Answers within the measured time; latencies in ms, CPU in seconds (`own`: this process)."""

    answered: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    own: float


@dataclass(slots=True)
class Load:
    """What the connections share."""

    requests: "itertools.cycle[bytes]"
    latencies: list[float] = field(default_factory=list)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: bytes = b""

    def fail(self, answer: bytes) -> None:
        self.failure = self.failure or answer
        self.failed.set()


class Connection(asyncio.Protocol):
    """Asks, reads the whole answer, notes the time it took, asks again."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._head = b""
        self._missing = 0
        self._chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._load.fail(b"the server closed the connection")

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        if self._chunked:
            self._head = self._head[-len(_LAST_CHUNK) :] + data
            self._missing = 0 if self._head.endswith(_LAST_CHUNK) else 1
        elif self._missing:
            self._missing -= len(data)
        elif not self._begin(data):
            return
        if not self._missing:
            self._load.latencies.append(time.perf_counter() - self._asked)
            self._head, self._chunked = b"", False
            self._ask()

    def _begin(self, data: bytes) -> bool:
        """Whether the head of the answer is whole and good."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        if self._head[9:12] != b"200":
            self._load.fail(self._head)
            return False
        if length := _LENGTH.search(self._head, 0, end):
            self._missing = end + 4 + int(length[1]) - len(self._head)
        else:
            self._chunked = True
            self._missing = 0 if self._head.endswith(_LAST_CHUNK) else 1
        return True


async def run(job: Job, requests: list[bytes]) -> Result:
    """SystemExit with the answer that was no 200."""
    loop = asyncio.get_running_loop()
    load = Load(itertools.cycle(requests))
    server = psutil.Process(job.pid)
    processes = [server, *server.children(recursive=True)]
    for _ in range(job.connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", job.port)
    await _pass(load, job.warm_up)
    load.latencies.clear()
    started, cpu, own = time.perf_counter(), _cpu(processes), time.process_time()
    await _pass(load, job.seconds)
    # Taken at once: the reading of CPU times below takes a while.
    latencies, load.latencies = load.latencies, []
    seconds, own = time.perf_counter() - started, time.process_time() - own
    cpu = _cpu(processes) - cpu
    if not latencies:
        raise SystemExit("no answer came in the measured time")
    middle, high = 1e3 * np.percentile(latencies, [50, 99])
    return Result(len(latencies), seconds, float(middle), float(high), cpu, own)


async def _pass(load: Load, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await load.failed.wait()
    except TimeoutError:
        return
    raise SystemExit(load.failure[:2000].decode(errors="replace"))


def _cpu(processes: list[psutil.Process]) -> float:
    """Seconds of CPU, in user and system mode, so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    job = Job(**json.loads(sys.stdin.buffer.readline()))
    requests = [sys.stdin.buffer.read(size) for size in job.sizes]
    print(json.dumps(asdict(uvloop.run(run(job, requests)))))


if __name__ == "__main__":
    main()

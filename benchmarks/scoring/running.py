"""A server while it runs: started until it answers, its memory, its end with all its children."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.memory import pss
from benchmarks.scoring.protocols import Question
from benchmarks.scoring.servers import Command

_START_SECONDS = 60
_STOP_SECONDS = 15
_ANSWER_SECONDS = 60
_FINAL = (422, 501)
"""Statuses that no waiting changes; 400 and 404 are also said of a model still being loaded."""
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class RefusedError(Exception):
    """The server did not answer as it should; says what it said instead."""


@dataclass(frozen=True, slots=True)
class Running:
    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    http: httpx.Client

    def ask(self, question: Question) -> httpx.Response:
        return self.http.post(question.path, content=question.body, headers=dict(question.headers))

    def wait_for(self, question: Question) -> None:
        """Until the question is answered; RefusedError with its last words if it never is."""
        give_up = time.monotonic() + _START_SECONDS
        answer = "no answer"
        while time.monotonic() < give_up and self.process.poll() is None:
            with suppress(httpx.TransportError):
                asked = self.ask(question)
                if asked.status_code == 200:
                    return
                answer = f"{asked.status_code} {asked.text[:500]}"
                if asked.status_code in _FINAL:
                    break
            time.sleep(0.1)
        words = self.log.read_text(errors="replace")[-3000:]
        raise RefusedError(f"it does not serve: {answer}\n{words}")

    def memory(self) -> float:
        """MiB of the process and its children that others do not share (PSS)."""
        tree = [self.process.pid]
        tree += [child.pid for child in psutil.Process(tree[0]).children(recursive=True)]
        return sum(pss(pid) for pid in tree)


@contextmanager
def running(
    name: str, command: Command, port: int, directory: Path
) -> Generator[Running, None, None]:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            env={**os.environ, **_THREADS, **command.variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False) as http:
            yield Running(name, port, process, log, http)
    finally:
        _stop(process)


@contextmanager
def scratch() -> Generator[Path, None, None]:
    with tempfile.TemporaryDirectory(prefix="scoring-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} did not stop and is killed", file=sys.stderr)
    # Its session is its own: whatever it left behind goes too.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

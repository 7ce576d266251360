"""One measurement: a case against a running server, verified and then loaded."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.scoring.load import Job, Result
from benchmarks.scoring.models import Model
from benchmarks.scoring.protocols import Question, Spoken
from benchmarks.scoring.running import RefusedError, Running

_DISTINCT_ROWS = 64
_DISTINCT_BATCHES = 16
_WARM_UP = 1.0
_TOLERANCE = 1e-4
"""Of a probability: what the deployer allows a compiled form to differ by."""


@dataclass(frozen=True, slots=True)
class Case:
    """How many rows a request has, on how many connections, and how they are written."""

    rows: int
    connections: int
    binary: bool = False

    def __str__(self) -> str:
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        wire = "binary" if self.binary else "JSON"
        return f"{rows}, concurrency {self.connections}, {wire}"

    def questions(self, model: Model, spoken: Spoken) -> list[Question]:
        """Distinct requests over the same rows for every server."""
        count = _DISTINCT_ROWS if self.rows == 1 else _DISTINCT_BATCHES
        starts = range(0, count * self.rows, self.rows)
        return [spoken.ask(model, model.rows[at : at + self.rows], self.binary) for at in starts]


def verify(
    server: Running, spoken: Spoken, questions: Sequence[Question], expected: np.ndarray
) -> None:
    """Ask each once. RefusedError, or SystemExit where the answer is not the estimator's."""
    at = 0
    for question in questions:
        answer = server.ask(question)
        if answer.status_code != 200:
            raise RefusedError(f"{answer.status_code} {answer.text[:300]}")
        found = spoken.read(answer.headers, answer.content)
        wanted = expected[at : at + len(found)]
        at += len(found)
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=0, atol=_TOLERANCE):
            raise SystemExit(
                f"{server.name} answers otherwise than the model, so nothing can be compared: "
                f"{found[:3].tolist()}, not {wanted[:3].tolist()}"
            )


def measure(
    server: Running, questions: Sequence[Question], connections: int, seconds: float
) -> Result:
    """Load the server from another process; RefusedError when any answer is not a 200."""
    requests = [question.raw(server.port) for question in questions]
    job = Job(
        port=server.port,
        pid=server.process.pid,
        connections=connections,
        warm_up=_WARM_UP,
        seconds=seconds,
        sizes=[len(request) for request in requests],
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scoring.load"],
        input=json.dumps(asdict(job)).encode() + b"\n" + b"".join(requests),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RefusedError(f"under load: {done.stderr.decode()[-500:]}")
    return Result(**json.loads(done.stdout))

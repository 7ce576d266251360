"""A real `mlflow models serve` beside our own server, of the same package."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from loopwright.ports import free_ports
from tests.scorer.logged_models import packaged

_START_SECONDS = 120
_LIMITS = httpx.Limits(max_keepalive_connections=0)  # uvicorn drops them when an answer fails
COLUMNS = ["age", "visits", "job", "member", "balance"]


def mixed(directory: Path) -> Path:
    """Labels over a double, a long, text, a truth value and an optional double."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    draw = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "age": draw.normal(40, 9, 80),
            "visits": draw.integers(0, 9, 80),
            "job": draw.choice(["clerk", "nurse", "smith"], 80),
            "member": draw.choice([True, False], 80),
            "balance": draw.normal(size=80),
        }
    )
    rows.loc[::5, "balance"] = np.nan
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["job"]),
        (SimpleImputer(), ["age", "visits", "balance"]),
        ("passthrough", ["member"]),
    )
    chance = rows["age"] / 9 + 2 * rows["member"] + (rows["job"] == "nurse") + rows["visits"] / 4
    answers = np.where(chance > chance.median(), "yes", "no")
    return packaged(
        directory, make_pipeline(columns, LogisticRegression(max_iter=900)).fit(rows, answers), rows
    )


def matrix(directory: Path) -> Path:
    """A regression over one tensor [rows, 3] of doubles."""
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(6).normal(size=(40, 3))
    return packaged(directory, LinearRegression().fit(rows, rows @ [3.0, -2.0, 0.5] + 1), rows)


@contextmanager
def mlflow_serving(*logged: Path) -> Generator[list[httpx.Client]]:
    """A client of each package's own server."""
    ports = free_ports(*map(str, logged)).values()
    servers = [_start(*pair) for pair in zip(logged, ports, strict=True)]
    clients = [
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=_LIMITS)
        for port in ports
    ]
    try:
        for client, server in zip(clients, servers, strict=True):
            _await(client, server)
        yield clients
    finally:
        for client, server in zip(clients, servers, strict=True):
            client.close()
            os.killpg(server.pid, signal.SIGKILL)  # the command and the uvicorn it runs
            server.wait(10)


def _start(logged: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    variables = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{logged.parent / 'none.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # it runs uvicorn
        "PYTHONWARNINGS": "ignore",
    }
    with (logged.parent / "served.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--model-uri", str(logged), "--port", str(port), "--host", "127.0.0.1"],
            env={**os.environ, **variables},
            start_new_session=True,
            stdout=log,
            stderr=log,
        )


def _await(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "mlflow models serve ended"
        try:
            if client.get("/ping").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("mlflow models serve does not answer")

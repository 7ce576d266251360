"""`loopwright deployments` against a deployer that answers as ours does."""

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.app.conftest import Run

DEPLOYMENT: dict[str, Any] = {
    "id": "0e5ac965-7150-5b44-8719-817a8ae99e8e",
    "model": "bank",
    "version": 2,
    "state": "canary",
    "why": "10% of the traffic beside version 1",
    "waits": None,
    "champion": False,
    "state_since": "2026-01-01T00:00:00.000000Z",
    "previous": None,
    "canary_step": 0,
    "deadline": None,
    "report": None,
    "route": None,
}


class Deployer(ThreadingHTTPServer):
    """One deployment, which moves on each time that it is looked at."""

    states: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Deployer

    def do_GET(self) -> None:
        if self.path.startswith(f"/v1/deployments/{DEPLOYMENT['id']}"):
            states = self.server.states
            state = states.pop(0) if len(states) > 1 else states[0]
            promoted = "2026-01-01T00:01:00.000000Z" if state == "promoted" else None
            answer = {**DEPLOYMENT, "state": state, "promoted_at": promoted}
        else:
            answer = {"items": [DEPLOYMENT], "next": None}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def deployer(monkeypatch: pytest.MonkeyPatch) -> Generator[Deployer, None, None]:
    server = Deployer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("LOOPWRIGHT_URL_DEPLOYER", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("end", "status"),
    [("promoted", 0), ("paused", 3), ("rolled-back", 1), ("rejected", 1), ("superseded", 1)],
)
def test_who_waits_is_told_by_the_status_how_it_ended(
    loopwright: Run, deployer: Deployer, end: str, status: int
) -> None:
    deployer.states = ["canary", "canary", end]

    result = loopwright("deployments", "wait", "bank/2")

    assert result.exit_code == status
    assert end in result.output

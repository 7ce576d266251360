"""`loopwright dead-letters` against services that answer as ours do."""

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from loopwright.client import PORTS
from tests.app.conftest import Run

LETTER: dict[str, Any] = {
    "id": "1f3c9a2e-0000-5000-8000-000000000001",
    "consumer": "registry.archive",
    "topic": "code-changed",
    "partition": 0,
    "offset": 7,
    "key": "bank",
    "attempts": 6,
    "error": "ValueError: no such luck",
    "code_version": "0.1",
    "failed_at": "2026-01-01T00:00:00.000000Z",
    "first_failed_at": "2026-01-01T00:00:00.000000Z",
    "state": "dead",
    "decided_at": None,
    "decided_by": None,
    "reason": None,
}
ANSWERS = {
    ("GET", "/v1/dead-letters"): {"items": [LETTER], "parked": 0, "next": None},
    ("GET", "/v1/dead-letters/1f3c"): {**LETTER, "headers": {"ce_id": "1"}, "value": "{}"},
    ("POST", f"/v1/dead-letters/{LETTER['id']}/replay"): {**LETTER, "state": "replayed"},
    ("POST", f"/v1/dead-letters/{LETTER['id']}/discard"): {**LETTER, "state": "discarded"},
    ("POST", "/v1/dead-letters/replay"): {"replayed": 3},
}


class Registry(ThreadingHTTPServer):
    """Answers for the registry, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.sent: list[dict[str, Any]] = []


class _Answering(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.sent.append(json.loads(body))
        self._answer("POST")

    def _answer(self, method: str) -> None:
        answer = ANSWERS.get((method, self.path.partition("?")[0]))
        body = json.dumps(answer or {"detail": "no dead letter"}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Generator[Registry, None, None]:
    """The registry has one dead letter; the others know of none."""
    with Registry() as server, ThreadingHTTPServer(("127.0.0.1", 0), _Empty) as others:
        for each in (server, others):
            Thread(target=each.serve_forever, daemon=True).start()
        for name in PORTS:
            port = server.server_port if name == "registry" else others.server_port
            monkeypatch.setenv(f"LOOPWRIGHT_URL_{name.upper()}", f"http://127.0.0.1:{port}")
        yield server
        for each in (server, others):
            each.shutdown()


class _Empty(_Answering):
    def _answer(self, method: str) -> None:  # noqa: ARG002
        self.send_error(404)


@pytest.mark.usefixtures("registry")
def test_the_list_says_what_to_do_next(loopwright: Run) -> None:
    done = loopwright("dead-letters", "list")
    assert done.exit_code == 0
    assert "1f3c9a2e" in done.output
    assert "dead-letters show ID" in done.output
    listed = json.loads(loopwright("dead-letters", "list", "--json").output)
    assert listed["items"] == [{"service": "registry", **LETTER}]


@pytest.mark.usefixtures("registry")
def test_show_tells_where_the_record_came_from(loopwright: Run) -> None:
    done = loopwright("dead-letters", "show", "1f3c")
    assert done.exit_code == 0
    for told in ("registry.archive", "ValueError: no such luck", "ce_id=1", "code-changed"):
        assert told in done.output


def test_one_or_all_are_replayed(loopwright: Run, registry: Registry) -> None:
    one = loopwright("dead-letters", "replay", "1f3c", "--by", "ann")
    many = loopwright(
        "dead-letters", "replay", "--consumer", "registry.archive", "--topic", "x", "--by", "ann"
    )
    assert (one.exit_code, many.exit_code) == (0, 0)
    assert "registry.archive handles 3 dead letters again" in many.output
    assert registry.sent == [
        {"by": "ann"},
        {"consumer": "registry.archive", "topic": "x", "by": "ann"},
    ]


def test_a_letter_is_discarded_with_a_reason(loopwright: Run, registry: Registry) -> None:
    without = loopwright("dead-letters", "discard", "1f3c")
    done = loopwright("dead-letters", "discard", "1f3c", "--reason", "a test", "--by", "ann")
    assert (without.exit_code, done.exit_code) == (2, 0)
    assert registry.sent == [{"reason": "a test", "by": "ann"}]


@pytest.mark.usefixtures("registry")
def test_what_is_not_there_ends_with_one_and_wrong_usage_with_two(loopwright: Run) -> None:
    missing = loopwright("dead-letters", "show", "nothing")
    stranger = loopwright("dead-letters", "replay", "--consumer", "nobody")
    assert (missing.exit_code, stranger.exit_code) == (1, 1)
    for wrong in ([], ["1f3c", "--consumer", "x"], ["1f3c", "--topic", "x"]):
        assert loopwright("dead-letters", "replay", *wrong).exit_code == 2

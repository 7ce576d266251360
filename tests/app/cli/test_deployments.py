"""`loopwright deployments` against a deployer that answers as ours does."""

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
    "may": [],
    "steps": [],
    "checks": [{"name": "holdout", "verdict": "passed", "sentence": "fine"}],
}


REPORT: dict[str, Any] = {
    "checks": DEPLOYMENT["checks"],
    "details": {
        "holdout": {
            "slices": [
                {"column": "job", "value": "nurse", "rows": 300, "candidate": 0.51, "champion": 0.5,
                 "difference": 0.01, "low": -0.0123456, "high": 0.02, "confidence": 0.99,
                 "verdict": "inconclusive"}
            ]
        },
        "replay": {
            "not_answered": [
                {"call": "c1", "at": "2026-01-01", "candidate": "answered 400", "inputs": {"a": 1}}
            ],
            "answered_otherwise": [
                {"call": "c2", "row": 0, "at": "2026-01-02", "champion": {"label": 0},
                 "candidate": {"label": 1}, "inputs": {"a": 2}}
            ],
        }
    },
}  # fmt: skip
COMPARISON: dict[str, Any] = {
    "canary": {"calls": 100, "hits": 4, "share": 0.04},
    "champion": {"calls": 900, "hits": 9, "share": 0.01},
    "low": -0.01,
    "high": 0.11,
    "confidence": 0.95,
    "worse": 3.5,
    "worse_limit": 100.0,
    "harmless": 0.25,
    "harmless_limit": 20.0,
}


def check(name: str, verdict: str = "inconclusive") -> dict[str, Any]:
    return {
        "name": name, "verdict": verdict, "measured": 0.04, "limit": 0.11, "unit": "of calls",
        "sentence": f"{name} said so", "comparison": COMPARISON,
    }  # fmt: skip


def look(number: int, action: str, live_action: str, verdict: str = "passed") -> dict[str, Any]:
    return {
        "number": number, "at": f"2026-01-01T00:00:{number:02}.000000Z", "step": 0,
        "paused": False, "canary_requests": 10 * number, "champion_requests": 90 * number,
        "checks": [check("canary-errors", verdict)], "action": action, "why": f"why {number}",
        "live_action": live_action, "live_why": f"live {number}", "same": action == live_action,
    }  # fmt: skip


class Deployer(ThreadingHTTPServer):
    """One deployment, which moves on each time that it is looked at; a trainer with runs too."""

    absent: int
    """How often a list of deployments is still empty."""
    runs: list[dict[str, Any]]
    states: list[str]
    looks: list[dict[str, Any]]
    policies: list[object]


class Handler(BaseHTTPRequestHandler):
    server: Deployer

    def do_GET(self) -> None:
        if self.path == f"/v1/deployments/{DEPLOYMENT['id']}/report":
            answer = REPORT
        elif self.path.startswith(f"/v1/deployments/{DEPLOYMENT['id']}"):
            states = self.server.states
            state = states.pop(0) if len(states) > 1 else states[0]
            promoted = "2026-01-01T00:01:00.000000Z" if state == "promoted" else None
            answer = {**DEPLOYMENT, "state": state, "promoted_at": promoted}
        elif self.path.startswith("/v1/runs?"):
            pipeline = parse_qs(urlsplit(self.path).query)["pipeline"][0]
            runs = [run for run in self.server.runs if run["pipeline"] == pipeline]
            answer = {"items": runs[:1], "next": None}
        else:
            self.server.absent -= 1
            answer = {"items": [] if self.server.absent >= 0 else [DEPLOYMENT], "next": None}
        self._answer(answer)

    def do_POST(self) -> None:
        """Two looks to a page."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.policies.append(body.get("policy"))
        after = int(parse_qs(urlsplit(self.path).query)["after"][0])
        more = str(after + 2) if len(self.server.looks) > after + 2 else None
        self._answer({"items": self.server.looks[after : after + 2], "next": more})

    def _answer(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def deployer(monkeypatch: pytest.MonkeyPatch) -> Generator[Deployer, None, None]:
    server = Deployer(("127.0.0.1", 0), Handler)
    server.states, server.policies, server.absent, server.runs = ["canary"], [], 0, []
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    for service in ("DEPLOYER", "TRAINER"):
        monkeypatch.setenv(f"LOOPWRIGHT_URL_{service}", f"http://127.0.0.1:{server.server_port}")
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


def test_what_a_person_may_do_is_shown_as_lines_to_paste(
    loopwright: Run, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [
        {"verb": "resume", "gate": None, "effect": "the canary begins at its first step"},
        {"verb": "skip", "gate": "canary", "effect": "it gets all traffic"},
    ]
    monkeypatch.setitem(DEPLOYMENT, "may", offered)
    deployer.states = ["paused"]

    for command in ("show", "wait"):
        output = loopwright("deployments", command, "bank/2").output
        shown = [" ".join(line.split()) for line in output.splitlines()]

        effect = "the canary begins at its first step"
        assert f"loopwright deployments resume bank/2 {effect}" in shown
        skip = 'loopwright deployments skip bank/2 canary --reason "..."'
        assert f"{skip} it gets all traffic" in shown


def test_who_waits_for_what_a_failed_run_was_to_bring_is_told_once(
    loopwright: Run, deployer: Deployer
) -> None:
    failed = {"pipeline": "bank", "commit": "bdeaefe7" * 5, "status": "failed", "why": "no data"}
    deployer.states, deployer.absent = ["promoted"], 3
    deployer.runs = [failed, {**failed, "status": "succeeded"}]

    result = loopwright("deployments", "wait", "bank/2")

    assert result.exit_code == 0
    assert result.stderr == (
        "the run of bank at bdeaefe7 failed: no data; waiting for the next run\n"
    )


def test_who_waits_is_not_told_of_runs_that_are_not_the_newest_of_the_pipeline(
    loopwright: Run, deployer: Deployer
) -> None:
    failed = {"pipeline": "bank", "commit": "bdeaefe7" * 5, "status": "failed", "why": "no data"}
    deployer.states, deployer.absent = ["promoted"], 2
    deployer.runs = [{**failed, "pipeline": "tone"}, {**failed, "status": "running"}, failed]

    assert loopwright("deployments", "wait", "bank/2").stderr == ""


@pytest.mark.parametrize(
    ("gate", "reason", "complaint"),
    [
        ("canary", " ", "say why the gate is skipped"),
        ("staging", "no data", "'staging' is not one of 'approval', 'canary', 'step'"),
    ],
)
def test_no_gate_is_skipped_without_a_reason_or_that_may_not_be(
    loopwright: Run, deployer: Deployer, gate: str, reason: str, complaint: str
) -> None:
    result = loopwright("deployments", "skip", "bank/2", gate, "--reason", reason)

    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())


def test_a_canary_is_shown_with_what_it_counts(
    loopwright: Run, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEPLOYMENT, "checks", [*DEPLOYMENT["checks"], check("canary-errors")])

    *_, titles, line = loopwright("deployments", "show", "bank/2").output.splitlines()

    assert titles.split() == [
        "name", "verdict", "canary", "champion", "difference", "limit", "worse", "harmless",
    ]  # fmt: skip
    assert " ".join(line.split()) == (
        "canary-errors inconclusive 4 of 100, 4.00% 9 of 900, 1.00% "
        "+3.00% (-1.00% to +11.00% at 95%) 11.00% 3.5 of 100 0.25 of 20"
    )


def test_a_report_shows_what_was_not_answered_and_what_otherwise(
    loopwright: Run, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        " ".join(line.split())
        for line in loopwright("deployments", "report", "bank/2").output.splitlines()
    ]
    as_json = json.loads(loopwright("deployments", "report", "bank/2", "--json").output)
    monkeypatch.setitem(REPORT, "details", {})
    without = loopwright("deployments", "report", "bank/2").output

    assert lines[1:] == [
        "holdout passed fine", "", "slices of the holdout",
        "column value rows verdict candidate champion difference low high",
        "job nurse 300 inconclusive 0.51 0.5 0.01 -0.01235 0.02", "", "not answered",
        "call at candidate inputs",
        'c1 2026-01-01 answered 400 {"a": 1}', "", "answered otherwise",
        "call row at champion candidate inputs",
        'c2 0 2026-01-02 {"label": 0} {"label": 1} {"a": 2}',
    ]  # fmt: skip
    assert as_json["details"]["replay"]["not_answered"][0]["call"] == "c1"
    assert len(without.splitlines()) == 2


def test_a_canary_judged_again_the_same_says_so(loopwright: Run, deployer: Deployer) -> None:
    deployer.looks = [look(n, "wait", "wait") for n in range(4)] + [look(4, "advance", "advance")]

    result = loopwright("deployments", "judge", "bank/2")

    assert result.exit_code == 0
    assert result.output.endswith("\n5 looks: same as live\n")
    table = result.output.splitlines()[1:-2]
    assert [line.split()[3:] for line in table] == [
        ["0", "0", "passed", "wait", "wait", "why", "0"],
        ["40", "360", "passed", "advance", "advance", "why", "4"],
    ]


def test_what_is_judged_otherwise_than_live_is_named_and_is_a_failure(
    loopwright: Run, deployer: Deployer
) -> None:
    deployer.looks = [look(0, "wait", "wait"), look(1, "roll-back", "wait", "failed")]

    result = loopwright("deployments", "judge", "bank/2")

    assert result.exit_code == 1
    assert "look 1: roll-back (why 1), live wait (live 1)" in result.output


def test_a_policy_of_a_file_is_tried_on_what_was(
    loopwright: Run, deployer: Deployer, tmp_path: Path
) -> None:
    deployer.looks = [{**look(0, "wait", "wait"), "same": False}, look(1, "wait", "roll-back")]
    file = tmp_path / "loopwright.yaml"
    file.write_text("model: bank\ndeploy:\n  canary:\n    margin: 0.3\n")

    result = loopwright("deployments", "judge", "bank/2", "--file", str(file))

    assert result.exit_code == 0
    assert deployer.policies == [{"canary": {"margin": 0.3}}]
    assert "look 1: wait (why 1), live roll-back (live 1)" in result.output


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("deploy: {canary: {margin: 2}}", "deploy.canary.margin: has to be less than 1"),
        ("model: bank", "has no `deploy:`"),
    ],
)
def test_a_file_without_a_policy_that_can_be_read_is_said_to_be(
    loopwright: Run, deployer: Deployer, tmp_path: Path, content: str, fault: str
) -> None:
    file = tmp_path / "loopwright.yaml"
    file.write_text(content)

    result = loopwright("deployments", "judge", "bank/2", "--file", str(file))

    assert (result.exit_code, fault in result.output) == (1, True)
    assert deployer.policies == []

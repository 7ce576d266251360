"""What a person sees of a deployment that moves."""

from typing import Any

import pytest
from rich.console import Console

from loopwright.cli.deploying import watching

STEPS = [
    {"number": 1, "at": "2026-01-01T00:00:00Z", "state": "staging", "why": "packaged", "by": None},
    {"number": 2, "at": "2026-01-01T00:00:09Z", "state": "canary", "why": "10%", "by": None},
    {"number": 3, "at": "2026-01-01T00:00:10Z", "state": "paused", "why": "by me", "by": "ada"},
]


MAY = [{"verb": "resume", "gate": None, "effect": "it goes on"}]


def deployment(steps: int, why: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "bank",
        "version": 2,
        "state": STEPS[steps - 1]["state"],
        "why": why,
        "weight": 0.1,
        "deadline": None,
        "may": [],
        "steps": STEPS[:steps],
        "checks": [],
        **more,
    }


def test_each_step_is_told_once_and_now_and_then_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = "10%; only 3 of 20 requests"
    reads = iter([deployment(1, "packaged"), deployment(2, waits), deployment(2, waits),
                  deployment(3, "by me", may=MAY)])  # fmt: skip
    monkeypatch.setattr(watching, "_EVERY", 0.0)
    monkeypatch.setattr(watching, "_WAITS_EVERY", 0.0)

    last = watching.watch(lambda: next(reads), lambda record: record["state"] == "paused")

    lines = capsys.readouterr().out.splitlines()
    told = [line.split("  ")[-1] for line in lines if line[:1].isdigit()]
    assert last["state"] == "paused"
    assert told == ["staging: packaged", "canary: 10%", "paused: by me (ada)"]
    assert [line.strip() for line in lines].count(waits) == 2
    assert lines[-1].strip() == "loopwright deployments resume bank/2"


def test_the_screen_shows_the_share_and_how_far_the_evidence_is() -> None:
    check = {
        "name": "canary-errors",
        "verdict": "inconclusive",
        "sentence": "0 of 9 calls failed",
        "comparison": {"harmless": 10.0, "harmless_limit": 20.0},
    }
    console = Console(width=140, record=True, force_terminal=False)

    shown_one = deployment(2, "10% beside version 1", checks=[check], may=MAY)
    console.print(watching.screen(shown_one))

    shown = console.export_text()
    assert "bank version 2  canary, ██░░░░░░░░░░░░░░░░░░ 10% of the traffic" in shown
    assert "\n  loopwright deployments resume bank/2" in shown
    assert "canary-errors  inconclusive  ██████████░░░░░░░░░░  0 of 9 calls failed" in shown

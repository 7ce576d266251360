"""What the report of staging says of a replay: figures, and the calls and rows that they are about.

Redacted inputs are not shown, also where they were recorded before somebody said so.
"""

from dataclasses import asdict
from typing import Any

from loopwright_common.names import shown
from loopwright_deployer.staging.checks.replayed_calls import Replay
from loopwright_deployer.staging.evaluation.agreement import Agreement, worst_rows
from loopwright_deployer.staging.evaluation.recorded_calls import RecordedCall, RecordedCalls

MAX_SHOWN = 20
"""Calls not answered, and rows answered otherwise."""
_LONGEST_LIST = 200
"""In characters."""
_MOST_INPUTS = 100


def replay_details(
    replay: Replay, recorded: RecordedCalls, found: Agreement, redacted: frozenset[str]
) -> dict[str, Any]:
    """For the report of staging: the figures, and the calls and rows that they are about."""
    rows = [(call, row) for call in replay.both for row in range(call.rows)]
    figures = {k: v for k, v in asdict(found).items() if k != "distances"}
    return {
        "calls": replay.counted,
        "refused": len(replay.refused),
        "failed": len(replay.failed),
        "answered_by_the_candidate_only": replay.only_candidate,
        "answered_by_neither": replay.unanswered,
        "not_asked": dict(replay.not_asked),
        "set_aside": list(recorded.set_aside[:MAX_SHOWN]),
        "recorded_from": min(call.at for call in recorded.calls),
        "recorded_until": max(call.at for call in recorded.calls),
        "agreement": figures,
        "not_answered": [
            {
                "call": call.id,
                "at": call.at,
                "rows": call.rows,
                "inputs": _shown(call, 0, redacted),
                "candidate": shown_fault(fault, redacted),
            }
            for call, fault in [*replay.failed, *replay.refused][:MAX_SHOWN]
        ],
        "answered_otherwise": [
            {
                "call": rows[at][0].id,
                "row": rows[at][1],
                "at": rows[at][0].at,
                "inputs": _shown(*rows[at], redacted),
                "champion": {name: _cut(values[at]) for name, values in replay.other.items()},
                "candidate": {name: _cut(values[at]) for name, values in replay.own.items()},
            }
            for at in worst_rows(found, MAX_SHOWN)
        ],
    }


def _shown(call: RecordedCall, row: int, redacted: frozenset[str]) -> dict[str, Any]:
    """A row's inputs, cut to what a person reads, without those that are redacted."""
    names = [name for name in call.inputs if name not in redacted][:_MOST_INPUTS]
    return {name: _cut(call.inputs[name][row]) for name in names}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list):
        text = str(value)
        return list(map(_cut, value)) if len(text) <= _LONGEST_LIST else shown(text)
    return value


def shown_fault(fault: str, redacted: frozenset[str]) -> str:
    """What the version said; a text may quote an input."""
    if not redacted:
        return shown(fault)
    status, _, _ = fault.partition(":")
    return f"{shown(status)} (its text is left out, as inputs are redacted)"

"""What staging found of a version, for people."""

import json
from typing import Any

from loopwright.output import Column, Row, console, show_items


def _text(name: str) -> Column:
    return name, lambda row: json.dumps(row[name], ensure_ascii=False)


CHECKS: list[Column] = ["name", "verdict", "sentence"]
NOT_ANSWERED: list[Column] = ["call", "at", "candidate", _text("inputs")]
SLICES: list[Column] = [
    *("column", "value", "rows", "verdict"),
    *(
        (name, lambda row, name=name: f"{row[name]:.4g}")
        for name in ("candidate", "champion", "difference", "low", "high")
    ),
]
ANSWERED_OTHERWISE: list[Column] = [
    *("call", "row", "at"),
    *(_text("champion"), _text("candidate"), _text("inputs")),
]


def show_report(report: Row) -> None:
    """The checks, the slices of the holdout, and the recorded calls and rows worth a look."""
    show_items(report["checks"], CHECKS, as_json=False)
    if slices := report["details"].get("holdout", {}).get("slices"):
        console.print("\nslices of the holdout", markup=False)
        show_items(slices, SLICES, as_json=False)
    replay: dict[str, Any] = report["details"].get("replay", {})
    for title, columns in (
        ("not_answered", NOT_ANSWERED),
        ("answered_otherwise", ANSWERED_OTHERWISE),
    ):
        if rows := replay.get(title):
            console.print(f"\n{title.replace('_', ' ')}", markup=False)
            show_items(rows, columns, as_json=False)

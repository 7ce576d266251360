"""`loopwright doctor`: are the services well, and has this machine what they need."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from loopwright.doctor import engines, machine, services
from loopwright.doctor.finding import Finding
from loopwright.output import console, show_json

_SIGNS = {"well": "[green]well[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


def examine(data_dir: Path) -> list[Finding]:
    """The services wherever they run; the engines as this data directory uses them."""
    return [*services.examine(), *machine.examine(), *engines.examine(data_dir)]


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        show_json({"items": [asdict(finding) for finding in findings]})
        return
    for finding in findings:
        console.print(
            f"{finding.name:13} {_SIGNS[finding.state]}  {escape(finding.detail)}", highlight=False
        )

"""`loopwright doctor`: are the services well, and has this machine what they need."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from loopwright.client import PORTS, CallError, Services
from loopwright.output import console, show_json

State = Literal["well", "note", "bad"]
_SIGNS = {"well": "[green]well[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}
_SAFE_SQLITE = (3, 51, 3)
_ENOUGH_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `bad` needs a person."""

    name: str
    state: State
    detail: str


def examine() -> list[Finding]:
    with Services(timeout=5) as services:
        found = [_service(services, name) for name in PORTS]
    return [*found, _loopwright(), _python(), _git(), _disk(), _sqlite()]


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        show_json({"items": [asdict(finding) for finding in findings]})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(finding.name, _SIGNS[finding.state], escape(finding.detail))
    console.print(table)


def _service(services: Services, name: str) -> Finding:
    try:
        checks = services.get(name, "/readyz")["checks"]
    except CallError as error:
        return Finding(name, "bad", str(error))
    letters = _dead_letters(services, name)
    state: State = "note" if letters else "well"
    tail = f"; {letters} dead letters: `loopwright dead-letters list`" if letters else ""
    return Finding(name, state, f"ready: {', '.join(checks)}{tail}")


def _dead_letters(services: Services, name: str) -> int:
    try:
        return len(services.items(name, "/v1/dead-letters"))
    except CallError:
        return 0


def _loopwright() -> Finding:
    return Finding("loopwright", "well", version("loopwright"))


def _python() -> Finding:
    threads = os.environ.get("OMP_NUM_THREADS")
    return Finding(
        "python", "well", f"{sys.version.split()[0]}, OMP_NUM_THREADS {threads or 'unset'}"
    )


def _git() -> Finding:
    if not shutil.which("git"):
        return Finding("git", "bad", "not found; install git")
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False)
    return Finding("git", "well", said.stdout.strip().removeprefix("git version "))


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    state: State = "well" if free > _ENOUGH_DISK else "bad"
    return Finding("disk", state, f"{free / (1 << 30):.1f} GiB free here")


def _sqlite() -> Finding:
    note = "" if sqlite3.sqlite_version_info >= _SAFE_SQLITE else _older()
    return Finding("sqlite", "well", f"{sqlite3.sqlite_version}{note}")


def _older() -> str:
    return " (before 3.51.3: safe here, one connection holds each file)"

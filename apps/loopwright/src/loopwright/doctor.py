"""`loopwright doctor`: are the services well, and has this machine what they need."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.markup import escape

from loopwright.client import PORTS, CallError, Services
from loopwright.output import Row, console, show_json

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
        found += [_repositories(services), _deployments(services)]
    return [*found, _loopwright(), _python(), _git(), _disk(), _sqlite()]


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        show_json({"items": [asdict(finding) for finding in findings]})
        return
    for finding in findings:
        console.print(
            f"{finding.name:13} {_SIGNS[finding.state]}  {escape(finding.detail)}", highlight=False
        )


def _service(services: Services, name: str) -> Finding:
    try:
        checks = services.get(name, "/readyz")["checks"]
    except CallError as error:
        return Finding(name, "bad", str(error))
    waiting = _undelivered(services, name)
    detail = "; ".join([f"ready: {', '.join(checks)}", *waiting])
    return Finding(name, "note" if waiting else "well", detail)


def _undelivered(services: Services, name: str) -> list[str]:
    """What is wrong with the events that the service reads."""
    try:
        found = services.get(name, "/v1/dead-letters")
    except CallError:
        return []
    count = f"{len(found['items'])}{'' if found['next'] is None else ' or more'}"
    dead = [f"dead letters: {count}, see `loopwright dead-letters list`"] * bool(found["items"])
    return dead + [f"events that wait for another try: {found['parked']}"] * bool(found["parked"])


def _repositories(services: Services) -> Finding:
    return _note(services, "repositories", "trainer", _troubled)


def _troubled(repository: Row) -> str | None:
    problem = repository["problem"]
    return f"{repository['name']}: {problem}" if problem else None


def _deployments(services: Services) -> Finding:
    return _note(services, "deployments", "deployer", _held)


def _held(deployment: Row) -> str | None:
    if deployment["state"] not in ("paused", "approval"):
        return None
    name = f"{deployment['model']}/{deployment['version']}"
    return f"{name} {deployment['state']}: {deployment['why']}"


def _note(
    services: Services, name: str, service: str, told: Callable[[Row], str | None]
) -> Finding:
    """What each of the service's things of this name wants of a person."""
    try:
        found = services.items(service, f"/v1/{name}")
    except CallError:
        return Finding(name, "note", f"unknown while the {service} is away")
    notes = [note for each in found if (note := told(each))]
    return Finding(name, "note" if notes else "well", "; ".join(notes) or f"{len(found)}, all well")


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

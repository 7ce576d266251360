"""This machine: versions, git, space."""

import os
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from loopwright.doctor.finding import Finding, State
from loopwright_common.sandbox import Level, detect

_SAFE_SQLITE = (3, 51, 3)
_ENOUGH_DISK = 2 << 30


def examine() -> list[Finding]:
    return [_loopwright(), _python(), _git(), _disk(), _sqlite(), _sandbox()]


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
    completed = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False)
    return Finding("git", "well", completed.stdout.strip().removeprefix("git version "))


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    state: State = "well" if free > _ENOUGH_DISK else "bad"
    return Finding("disk", state, f"{free / (1 << 30):.1f} GiB free here")


def _sqlite() -> Finding:
    note = "" if sqlite3.sqlite_version_info >= _SAFE_SQLITE else _older()
    return Finding("sqlite", "well", f"{sqlite3.sqlite_version}{note}")


def _older() -> str:
    return " (before 3.51.3: safe here, one connection holds each file)"


def _sandbox() -> Finding:
    """What this user may do here; services that run as another user may have another level."""
    sandbox = detect()
    state: State = "well" if sandbox.level is Level.NAMESPACE else "note"
    parts = ["Landlock" if sandbox.landlock else "no Landlock"]
    parts += ["a user for each command"] if sandbox.own_users else []
    limited = sandbox.cgroups.controllers if sandbox.cgroups else ()
    parts += [f"cgroups of {' and '.join(limited)}"] if limited else ["no cgroups"]
    why = f"; not more: {sandbox.why_not_more}" if sandbox.why_not_more else ""
    return Finding("sandbox", state, f"level {sandbox.level}, with {', '.join(parts)}{why}")

"""Commands started in a sandbox as a service starts them."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loopwright_common.process.subprocesses import die_with_parent, kill_group
from loopwright_common.sandbox import Policy, Sandbox
from loopwright_common.sandbox.visible_paths import python_paths


def start(
    sandbox: Sandbox, command: list[str], policy: Policy, **changes: Any
) -> subprocess.Popen[str]:
    """As a service starts one; output is text, and errors are shown with it."""
    return start_wrapped(sandbox.wrap(command, policy), policy, **changes)


def start_wrapped(arguments: list[str], policy: Policy, **changes: Any) -> subprocess.Popen[str]:
    """The same, for what has been wrapped already."""
    kept: dict[str, Any] = {
        "cwd": policy.writable[0],
        "env": {"PATH": "/usr/bin:/bin"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        **changes,
    }
    return subprocess.Popen(arguments, start_new_session=True, preexec_fn=die_with_parent, **kept)  # noqa: PLW1509


def run(sandbox: Sandbox, command: list[str], policy: Policy, **changes: Any) -> tuple[int, str]:
    """Exit status and what it printed."""
    return finish(start(sandbox, command, policy, **changes))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what it printed."""
    try:
        printed, _ = process.communicate(timeout=60)
    finally:
        kill_group(process.pid)
    return process.returncode, printed


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", code, *arguments]


def as_ordinary_user(bubblewrap: Path, *readable: Path) -> list[str]:
    """What root puts before a command, which then sees everything as an ordinary user does.

    Python and what is readable lie open to that user, wherever they are.
    """
    view = [str(bubblewrap), "--dev-bind", "/", "/", *_opened((*readable, *python_paths()))]
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return [*view, "--chdir", "/", *become]


def _opened(paths: Iterable[Path]) -> list[str]:
    """Where one lies in a directory that is closed to others: arguments that open it."""
    arguments: list[str] = []
    closed: set[Path] = set()
    for path in paths:
        above = list(reversed(path.parents))
        shut = next((parent for parent in above if not parent.stat().st_mode & 1), None)
        if shut is None:
            continue
        if shut not in closed:
            arguments += ["--perms", "0755", "--tmpfs", str(shut)]
        closed.add(shut)
        for parent in above[above.index(shut) + 1 :]:
            arguments += ["--dir", str(parent)]
        arguments += ["--ro-bind", str(path), str(path)]
    return arguments

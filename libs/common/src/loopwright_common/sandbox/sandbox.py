"""How a command is started at a level: the arguments that wrap it."""

import base64
import itertools
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from loopwright_common.errors import InvalidError
from loopwright_common.sandbox import launcher, visible_paths
from loopwright_common.sandbox.cgroups import Cgroups
from loopwright_common.sandbox.levels import Level
from loopwright_common.sandbox.policy import Limits, Policy
from loopwright_common.sandbox.seccomp import seccomp_program

log = structlog.get_logger()
# The range that systemd gives to users who exist only as long as their process.
_USERS = range(61184, 65520)
_users = itertools.count(random.randrange(len(_USERS)))  # noqa: S311 - two trainers seldom meet
_DEVICES = ("null", "zero", "full", "random", "urandom")
_SHARED_MEMORY, _TEMPORARY = Path("/dev/shm"), Path("/tmp")  # noqa: S108 - the sandbox's own
_BYTES_IN_MEMORY = 1 << 30
_DEEPEST = 128
"""Levels of directories that a command is given, and its home and temporary files among them."""
_LIMITS = {
    "memory": "AS", "cpu_seconds": "CPU", "file_bytes": "FSIZE", "open_files": "NOFILE",
    "processes": "NPROC",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A way of starting commands that works on this machine; `detect` finds the strongest.

    `own_users`: a command may have a user of its own, since we are root. `cgroups` limit it as a
    whole, None where they cannot. `why_not_more` is for people, empty where nothing is missing.
    """

    level: Level
    own_users: bool = False
    landlock: bool = False
    bubblewrap: Path | None = None
    cgroups: Cgroups | None = None
    why_not_more: str = ""

    def wrap(self, command: Sequence[str], policy: Policy) -> list[str]:
        """The command as it is started under the policy, for example by `subprocesses.start`.

        It keeps its working directory, standard streams, environment and inherited files. Its exit
        status is 125 when the sandbox could not be set up, with the reason on standard error. The
        starter makes it a session of its own that dies with the starter, and kills the whole.
        """
        user = self._new_user(policy)
        if user is not None:
            _give(policy.writable, user)
        spec = self._confinement(policy, user)
        python = [sys.executable, "-I", "-S", "-B", launcher.__file__, json.dumps(spec)]
        before = [*self._join_cgroup(policy.limits), *self._namespaces(policy, user)]
        return [*before, *python, *command]

    def _join_cgroup(self, limits: Limits) -> list[str]:
        if self.cgroups is None:
            return []
        try:
            return self.cgroups.join(limits.total_memory, limits.processes)
        except OSError as error:
            log.warning("sandbox.no_cgroup", why=str(error))
            return []

    # ---- what the launcher is told -----------------------------------------------------------

    def _new_user(self, policy: Policy) -> int | None:
        """One that nothing else here has; None where it could not get to what it may use."""
        if not (self.own_users and policy.own_user):
            return None
        paths = (
            ()
            if self.level is Level.NAMESPACE
            else (*policy.readable, *policy.writable, *policy.shared)
        )
        if any(not above.stat().st_mode & 1 for path in paths for above in path.parents):
            return None
        return _USERS[next(_users) % len(_USERS)]

    def _confinement(self, policy: Policy, user: int | None) -> dict[str, Any]:
        """See `launcher` for the fields."""
        gateway = policy.gateway
        alone = self.level is Level.NAMESPACE
        offline = not alone and not policy.network
        program = seccomp_program(tcp=not offline or gateway is not None, datagrams=not offline)
        linux, landlock = sys.platform == "linux", self.landlock
        readable = [str(path) for path in (*self._readable(policy), Path("/proc"))]
        return {
            "confine": self.level is not Level.NONE,
            "supervise": linux and self.level in (Level.PROCESS, Level.CONTAINER),
            "user": user,
            "gateway": [gateway.variable, gateway.fd, gateway.scheme] if gateway else None,
            "seccomp": base64.b64encode(program).decode() if linux else "",
            "read": readable if landlock else None,
            "write": [str(path) for path in self._writable(policy)],
            "ports": [] if offline else None,
            **self._limits(policy, user),
        }

    def _limits(self, policy: Policy, user: int | None) -> dict[str, Any]:
        asked = {name: getattr(policy.limits, field) for field, name in _LIMITS.items()}
        limits = {name: value for name, value in asked.items() if value is not None}
        more = None
        if self.level is not Level.NAMESPACE and user is None:
            # All of this user's count.
            more = limits.pop("NPROC", None) if sys.platform == "linux" else None
        return {"limits": {**limits, "CORE": 0}, "more_processes": more}

    def _readable(self, policy: Policy) -> Iterator[Path]:
        yield from visible_paths.system_directories()
        yield from visible_paths.shared_files(network=policy.network)
        yield from visible_paths.python_paths()
        yield Path(launcher.__file__)
        yield from policy.readable

    def _writable(self, policy: Policy) -> Iterator[Path]:
        yield from (*policy.writable, *policy.shared)
        yield from (Path("/dev") / name for name in _DEVICES)
        if _SHARED_MEMORY.exists():
            yield _SHARED_MEMORY  # where locks between processes lie
        if self.level is Level.NAMESPACE:
            yield _TEMPORARY

    # ---- what bubblewrap is told -------------------------------------------------------------

    def _namespaces(self, policy: Policy, user: int | None) -> list[str]:
        if self.level is not Level.NAMESPACE:
            return []
        arguments = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
        if policy.network:
            arguments.append("--share-net")
        if user is not None:
            # Root makes the others without one of users, in which it could not become another.
            arguments.remove("--unshare-all")
            arguments += _WITHOUT_USERS if policy.network else [*_WITHOUT_USERS, "--unshare-net"]
            for name in ("SETUID", "SETGID", "DAC_READ_SEARCH"):  # the last to find its directory
                arguments += ["--cap-add", f"CAP_{name}"]
        arguments += ["--proc", "/proc", "--dev", "/dev"]
        for path in (_SHARED_MEMORY, _TEMPORARY):
            arguments += ["--perms", "1777", "--size", str(_BYTES_IN_MEMORY), "--tmpfs", str(path)]
        arguments += _mounts(self._readable(policy), (*policy.writable, *policy.shared))
        return [str(self.bubblewrap), *arguments, "--remount-ro", "/", "--"]


_WITHOUT_USERS = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]


def _mounts(readable: Iterator[Path], writable: Sequence[Path]) -> list[str]:
    """Outer ones before what is inside them, so that each path is what was asked for it."""
    kinds = dict.fromkeys(readable, "--ro-bind") | dict.fromkeys(writable, "--bind")
    above = {parent for path in kinds for parent in path.parents if len(parent.parts) > 1}
    arguments: list[str] = []
    for path in sorted({*above, *kinds}, key=lambda path: len(path.parts)):
        if path not in kinds:
            arguments += ["--dir", str(path)]  # else closed to other users
        elif path.is_symlink() and len(path.parts) == 2:  # such as /lib
            arguments += ["--symlink", os.readlink(path), str(path)]
        else:
            arguments += [kinds[path], str(path), str(path)]
    return arguments


def _give(paths: Sequence[Path], user: int) -> None:
    """Make what is ours there, or was an earlier user's, this one's; links stay what they are.

    InvalidError where an earlier command made directories deeper than a function can follow them.
    """
    theirs = {os.geteuid(), *_USERS}
    for path in paths:
        os.chown(path, user, user, follow_symlinks=False)
        for folder, directories, files, opened in os.fwalk(path):
            if len(Path(folder).parts) - len(path.parts) > _DEEPEST:
                raise InvalidError(f"an earlier command left directories over {_DEEPEST} deep")
            for name in (*directories, *files):
                if os.stat(name, dir_fd=opened, follow_symlinks=False).st_uid in theirs:
                    os.chown(name, user, user, dir_fd=opened, follow_symlinks=False)

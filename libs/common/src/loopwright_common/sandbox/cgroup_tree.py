"""Where this process is in the kernel's control groups, and below which of them it may make others.

The controllers `memory` and `pids` each have a tree of groups (version 1), or share one (version 2,
`admin-guide/cgroup-v2`), where a group has either processes or children with limits, and what a
service manager has not delegated is its own.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("memory", "pids")
PROCESSES = "cgroup.procs"
_LIMITS = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "pids": ("pids.max",),
}
_NO_LIMIT = 1 << 60  # what version 1 shows where there is none is about 1 << 63
_ENABLED, _AVAILABLE = "cgroup.subtree_control", "cgroup.controllers"
_NOT_THE_ROOT = "cgroup.type"
_SERVICES = "loopwright-services"
_SYSTEMD = Path("/run/systemd/system")
_DELEGATED = ("user.delegate", "trusted.delegate")
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class OwnGroup:
    """The group that this process is in for a controller; `top` is the highest that it sees."""

    directory: Path
    top: Path
    version: int

    def upwards(self) -> Iterator[Path]:
        """The group and those above it."""
        yield self.directory
        yield from (group for group in self.directory.parents if group.is_relative_to(self.top))


def is_limited(controller: str) -> bool:
    """Whether our group has a limit, or one above it that we see."""
    with suppress(OSError):
        return any(has_limit(group, controller) for group in own_group(controller).upwards())
    return False


def has_limit(group: Path, *controllers: str) -> bool:
    """Whether the group itself has a limit of one of the controllers."""
    for name in (name for controller in controllers for name in _LIMITS[controller]):
        with suppress(OSError):
            limit = (group / name).read_text().strip()
            if limit != "max" and int(limit) < _NO_LIMIT:
                return True
    return False


def parent_for_groups(controller: str) -> Path:
    """The group below which we may make others that the controller limits.

    OSError says why there is none. In version 2 the processes of our group are moved into a child
    of it where need be, as the kernel wants it.
    """
    own = own_group(controller)
    if own.version == 1:
        return own.directory
    parent = _delegated(own)
    _enable(controller, parent)
    return parent


# ---- where we are ------------------------------------------------------------------------------


def own_group(controller: str) -> OwnGroup:
    """OSError where it cannot be seen."""
    groups = Path("/proc/self/cgroup").read_text()
    mounts = Path("/proc/self/mountinfo").read_text()
    for own in find_groups(controller, groups, mounts):
        if (own.directory / PROCESSES).exists():  # else something else is mounted over it
            return own
    raise FileNotFoundError(errno.ENOENT, "no group of it is mounted here")


def find_groups(controller: str, groups: str, mounts: str) -> Iterator[OwnGroup]:
    """Where the texts of /proc/self/cgroup and mountinfo put us, the last mount first."""
    paths: dict[str, str] = {}
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        paths |= dict.fromkeys(names.split(","), path)
    for line in reversed(mounts.splitlines()):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, mounted = before.split()[3:5]
        if kind == "cgroup" and controller in options.split(","):
            version, path = 1, paths.get(controller, "")
        elif kind == "cgroup2" and controller not in paths:
            version, path = 2, paths.get("", "")
        else:
            continue
        with suppress(ValueError):  # it is in no part that is mounted
            yield OwnGroup(Path(mounted, Path(path).relative_to(root)), Path(mounted), version)


# ---- version 2 ---------------------------------------------------------------------------------


def _delegated(own: OwnGroup) -> Path:
    """Our group, or the one above it where ours is only a part of what was delegated."""
    candidates = [own.directory] if own.directory.name != _SERVICES else []
    if own.directory != own.top:
        candidates.append(own.directory.parent)
    for group in candidates:
        if _is_delegated(group):
            return group
    if _SYSTEMD.exists():
        why = "systemd has not delegated it; start the service in a unit with Delegate=yes"
        raise PermissionError(errno.EPERM, why, str(own.directory))
    raise PermissionError(errno.EACCES, "may not be written to", str(own.directory))


def _is_delegated(group: Path) -> bool:
    """Where systemd runs it says so; what it has not delegated may be open to root all the same."""
    if not _SYSTEMD.exists():
        return all(os.access(group / name, os.W_OK) for name in (PROCESSES, _ENABLED))
    for name in _DELEGATED:
        with suppress(OSError):
            return os.getxattr(group, name) == b"1"
    return False


def _enable(controller: str, parent: Path) -> None:
    """Let the controller limit children of the group."""
    if controller not in (parent / _AVAILABLE).read_text().split():
        raise OSError(errno.ENOTSUP, "the controller is not delegated", str(parent))
    for _ in range(_ROUNDS):
        _move_processes(parent)
        if controller in (parent / _ENABLED).read_text().split():
            return
        try:
            (parent / _ENABLED).write_text(f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY:  # as it is where a process came meanwhile
                raise
    raise OSError(errno.EBUSY, "has processes that cannot be moved", str(parent))


def _move_processes(parent: Path) -> None:
    """Out of a group that is to have children with limits; the kernel's root may have both."""
    if not (parent / _NOT_THE_ROOT).exists():
        return
    for pid in (parent / PROCESSES).read_text().split():
        services = parent / _SERVICES
        services.mkdir(exist_ok=True)
        with suppress(ProcessLookupError):
            (services / PROCESSES).write_text(pid)

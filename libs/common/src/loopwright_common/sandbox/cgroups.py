"""A control group for each command: limits of all its processes together, where we may make one.

`Cgroups.join` makes the group, and the arguments that it returns put a command into it before
anything else. A command that has joined writes the limits, so a group with limits and without
processes has done its work: it is removed when the next one is made, or when this process ends.
What a killed process left is removed by the next one that makes groups in the same place.
"""

import atexit
import itertools
import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loopwright_common.sandbox.cgroup_tree import (
    CONTROLLERS,
    PROCESSES,
    has_limit,
    parent_for_groups,
)

_NAME = re.compile(r"loopwright-(\d+)-(\d+)-\d+")
_JOIN = [
    "/bin/sh",
    "-c",
    'while [ "$1" != -- ]; do echo "$1" > "$2" || exit 125; shift 2; done; shift; exec "$@"',
    "sandbox",
]
_TRIED = ["/bin/sh", "-c", ":"]
_TRIED_WITH = (256 << 20, 16)
_EVENTS = ("memory.events", "memory.oom_control")
_OURS = 4
"""Processes in the group that are bubblewrap's and the launcher's."""
_numbers = itertools.count()
_ran_out: deque[str] = deque(maxlen=1024)
"""Names of removed groups of which the kernel had ended processes for want of memory."""


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Makes groups below those that are ours for each controller, if any."""

    memory: Path | None = None
    pids: Path | None = None

    @property
    def controllers(self) -> tuple[str, ...]:
        """What they limit here."""
        return tuple(name for name in CONTROLLERS if getattr(self, name) is not None)

    def join(self, memory: int | None, processes: int | None) -> list[str]:
        """What a command's arguments begin with so that it has a group with these limits.

        Nothing where there is nothing to limit; OSError where the group cannot be made.
        """
        self.remove_ended()
        name = f"loopwright-{os.getpid()}-{_start_of(os.getpid())}-{next(_numbers)}"
        limits: list[tuple[Path, int]] = []
        if self.memory is not None and memory is not None:
            limits += ((self.memory / name / file, value) for file, value in _memory(memory))
        if self.pids is not None and processes is not None:
            limits.append((self.pids / name / "pids.max", processes + _OURS))
        groups = list(dict.fromkeys(file.parent for file, _ in limits))
        _make(groups)
        written = [(group / PROCESSES, 0) for group in groups]
        written += ((file, value) for file, value in limits if file.exists())
        arguments = [argument for file, value in written for argument in (str(value), str(file))]
        return [*_JOIN, *arguments, "--"] if arguments else []

    def remove_ended(self, *, at_exit: bool = False) -> None:
        """Remove our groups that are done with, and those of processes that are gone.

        At our exit also those that no command has joined, since none will.
        """
        for parent in (self.memory, self.pids):
            for group in parent.glob("loopwright-*") if parent is not None else ():
                if _is_done_with(group, at_exit):
                    _remove(group)


def find_cgroups() -> tuple[Cgroups | None, str]:
    """What works here, tried, and why not more."""
    parents: dict[str, Path] = {}
    reasons: dict[str, list[str]] = {}
    for controller in CONTROLLERS:
        try:
            parent = parent_for_groups(controller)
            _try(Cgroups(**{controller: parent}))
            parents[controller] = parent
        except OSError as error:
            reasons.setdefault(_reason(error), []).append(controller)
    why = "; ".join(f"cgroups of {' and '.join(names)}: {why}" for why, names in reasons.items())
    if not parents:
        return None, why
    found = Cgroups(**parents)
    atexit.register(found.remove_ended, at_exit=True)
    return found, why


def groups_of(arguments: Sequence[str]) -> list[Path]:
    """The groups that a command joins which is started with these arguments."""
    if list(arguments[: len(_JOIN)]) != _JOIN:
        return []
    ours = itertools.takewhile(lambda argument: argument != "--", arguments[len(_JOIN) :])
    return [Path(argument).parent for argument in ours if argument.endswith(f"/{PROCESSES}")]


def ran_out_of_memory(arguments: Sequence[str]) -> bool:
    """Whether the kernel has ended a process, for want of memory, of what was started with these.

    False where it has no group, which says nothing.
    """
    return any(_kills_in(group) or group.name in _ran_out for group in groups_of(arguments))


def _memory(limit: int) -> Iterator[tuple[str, int]]:
    """What bounds memory in either version: as a whole, not by swapping, and all or nothing."""
    yield from (("memory.max", limit), ("memory.swap.max", 0), ("memory.oom.group", 1))
    yield from (("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", limit))


def _make(groups: Sequence[Path]) -> None:
    made: list[Path] = []
    try:
        for group in groups:
            group.mkdir()
            made.append(group)
    except OSError:
        for group in made:
            _remove(group)
        raise


def _try(cgroups: Cgroups) -> None:
    """OSError where it does not work."""
    command = [*cgroups.join(*_TRIED_WITH), *_TRIED]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    cgroups.remove_ended()
    if tried.returncode:
        raise OSError(tried.returncode, tried.stderr.strip())


def _reason(error: OSError) -> str:
    if error.filename is None:
        return str(error.strerror)
    where = Path(error.filename)
    return f"{where.parent if _NAME.fullmatch(where.name) else where}: {error.strerror}"


def _is_done_with(group: Path, at_exit: bool) -> bool:
    maker = _NAME.fullmatch(group.name)
    if maker is None:
        return False
    pid, start = map(int, maker.groups())
    if pid == os.getpid() and start == _start_of(pid):
        return (at_exit or has_limit(group, *CONTROLLERS)) and not _has_processes(group)
    return _start_of(pid) != start


def _has_processes(group: Path) -> bool:
    with suppress(OSError):
        return bool((group / PROCESSES).read_text())
    return False


def _remove(group: Path) -> None:
    """Remembers first what may be asked of it later; one that has processes stays."""
    if _kills_in(group):
        _ran_out.append(group.name)
    with suppress(OSError):
        group.rmdir()


def _kills_in(group: Path) -> int:
    for name in _EVENTS:
        with suppress(OSError):
            events = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(events.get("oom_kill", 0))
    return 0


def _start_of(pid: int) -> int | None:
    """When a process was started, in ticks of the machine; None where none is alive."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(numbers[18])

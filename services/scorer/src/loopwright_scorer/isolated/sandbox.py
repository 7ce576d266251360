"""What the process of a package gives up before it opens anything. Standard library only.

Where the system permits it: the network, the sight of other processes, and writing outside its own
directory. Always: memory, file sizes and open files beyond its limits. Not given up: reading what
this user may read, and time and number of processes where there is no user namespace.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from contextlib import suppress
from typing import Any

_LARGEST_FILE = 64 << 20
_OPEN_FILES = 256
_PROCESSES = 64
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WRITING = sum(1 << bit for bit in (1, *range(4, 15)))
"""Write, remove, make of every kind, refer and truncate; reading stays."""


def enter_sandbox(order: dict[str, Any]) -> dict[str, bool]:
    """Give up all but the limits; says which of those that need the system's leave it gave.

    Where it may have processes of its own only, the model lives in a second process, and all that
    it ever starts dies with it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    named = _namespaces(libc)
    _limits(order["memory"], processes=named == "user")
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if hasattr(libc, "prctl"):
        libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    writes = _only_writes_here(libc)
    return {"network": bool(named), "processes": bool(named), "writes": writes}


def _namespaces(libc: Any) -> str:
    """Leave the network and the other processes; what permitted it, or nothing."""
    if not hasattr(libc, "unshare"):
        return ""
    for name, flags in (("user", _NEW_USER), ("root", 0)):
        if libc.unshare(flags | _NEW_PID | _NEW_NET) == 0:
            _go_inside(libc)
            return name
    return ""


def _go_inside(libc: Any) -> None:
    """Only children are inside: this process waits for one, and the one goes on."""
    libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)  # a new user forgets it
    inside = os.fork()
    if inside:
        _, status = os.waitpid(inside, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _limits(memory: int, *, processes: bool) -> None:
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: _LARGEST_FILE,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if processes:  # else all of this user's count
        limits[resource.RLIMIT_NPROC] = _PROCESSES
    for limit, wanted in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (value, value))


def _only_writes_here(libc: Any) -> bool:
    """Landlock: nothing is written but below the working directory, and /dev/null."""
    attribute = struct.pack("<Q", _WRITING)
    rules = libc.syscall(_LANDLOCK_CREATE, attribute, ctypes.c_size_t(len(attribute)), 0)
    if rules < 0:
        return False
    for path, allowed in ((".", _WRITING), ("/dev/null", 1 << 1)):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("<Qi", allowed, opened)
        libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0)
        os.close(opened)
    restricted: bool = libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return restricted

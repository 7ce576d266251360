"""What a command gives up before it starts. Runs by its path: standard library only.

`python -I -S -B launcher.py CONFINEMENT COMMAND...`, where CONFINEMENT is JSON:

- `confine`: whether anything is given up at all
- `read`, `write`: paths for Landlock, null where the kernel has none; `ports`: those of TCP that
  may be connected to, null for all
- `limits`: by resource name; `more_processes`: limit of processes beyond what the user runs now
- `user`: the id to become, null to stay; `seccomp`: the filter in base64
- `gateway`: `[variable, fd, scheme]` or null; `supervise`: stay, and end with all that was started
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import Any, NoReturn

_SET_PDEATHSIG, _SET_SECCOMP, _SET_SECUREBITS = 1, 22, 28
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 36, 38, 47
_NO_ROOT = 0b11
_CLEAR_ALL = 4
_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPES = 0b11
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NOT_CONFINED, _NOT_STARTED = 125, 127


def landlock_abi() -> int:
    """The version of the kernel's Landlock (`userspace-api/landlock`); 0 where it has none."""
    version: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return max(version, 0)


def confine(spec: dict[str, Any], libc: Any) -> None:
    """Give everything up; raises OSError where any part of it fails."""
    for name, value in spec["limits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
    if (more := spec["more_processes"]) is not None:
        _limit(resource.RLIMIT_NPROC, _threads_of(os.getuid()) + more)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    # Opened now: as another user it may not get there.
    rules = _landlock_rules(spec, libc) if spec["read"] is not None else None
    if (user := spec["user"]) is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    elif os.getuid() == 0 and hasattr(libc, "prctl"):
        # Without its capabilities, of which a namespace may have left none to change this.
        libc.prctl(_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
        libc.prctl(_SET_SECUREBITS, _NO_ROOT, 0, 0, 0)
    if hasattr(libc, "prctl"):
        libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which forgets it
        _check(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if rules is not None:
        _check(libc.syscall(_RESTRICT_SELF, rules, 0), "Landlock")
        os.close(rules)
    if spec["seccomp"]:
        _filter_system_calls(base64.b64decode(spec["seccomp"]), libc)


def _limit(name: int, wanted: int) -> None:
    hard = resource.getrlimit(name)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(name, (value, value))


def _threads_of(user: int) -> int:
    count = 0
    for entry in os.scandir("/proc"):
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


def _landlock_rules(spec: dict[str, Any], libc: Any) -> int:
    abi = landlock_abi()
    handled = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        handled |= right if abi >= since else 0
    net = _BIND_TCP | _CONNECT_TCP if abi >= 4 and spec["ports"] is not None else 0
    sizes = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}
    attribute = struct.pack("<QQQ", handled, net, _SCOPES)[: sizes.get(abi, 24)]
    size = ctypes.c_size_t(len(attribute))
    rules: int = _check(libc.syscall(_CREATE_RULESET, attribute, size, 0), "Landlock")
    for paths, allowed in ((spec["read"], _READING), (spec["write"], handled)):
        for path in paths:
            _allow(path, allowed & handled, rules, libc)
    for port in spec["ports"] or () if net else ():
        rule = struct.pack("<QQ", _CONNECT_TCP, port)
        _check(libc.syscall(_ADD_RULE, rules, _NET_PORT, rule, 0), "Landlock")
    return rules


def _allow(path: str, rights: int, rules: int, libc: Any) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rights = rights if os.path.isdir(path) else rights & _OF_FILES
    rule = struct.pack("<Qi", rights, opened)
    _check(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0), f"Landlock: {path}")
    os.close(opened)


def _filter_system_calls(program: bytes, libc: Any) -> None:
    instructions = ctypes.create_string_buffer(program, len(program))
    size, address = len(program) // 8, ctypes.addressof(instructions)
    loaded = struct.pack("HP", size, address)
    _check(libc.prctl(_SET_SECCOMP, _FILTER, loaded, 0, 0), "seccomp")


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _open_gateway(variable: str, fd: int, scheme: str) -> int:
    """Listen on our own loopback and hand the socket to whoever started us; the port."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        port: int = listener.getsockname()[1]
        with socket.socket(fileno=fd) as starter:
            socket.send_fds(starter, [b"."], [listener.fileno()])
    os.environ[variable] = f"{scheme}://127.0.0.1:{port}"
    return port


def _supervise(started: int, user: int | None) -> NoReturn:
    """Wait for the command, end all that it left, and end as it did."""
    _, status = os.waitpid(started, 0)
    while _end_children(user):
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with suppress(OSError, ValueError):  # those that nobody can catch have no handler to reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _end_children(user: int | None) -> bool:
    """Kill what is left; whether there was anything."""
    with open(f"/proc/self/task/{os.getpid()}/children") as listed:
        left = [int(pid) for pid in listed.read().split()]
    if left and user is not None and os.fork() == 0:
        os.setresuid(user, user, user)
        os.kill(-1, signal.SIGKILL)  # at once, so that nothing can be forked meanwhile
        os._exit(0)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(left)


def _start(spec: dict[str, Any], command: list[str], libc: Any) -> NoReturn:
    if spec["gateway"]:
        port = _open_gateway(*spec["gateway"])
        spec["ports"] = spec["ports"] if spec["ports"] is None else [port]
    if spec["supervise"]:
        _check(libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
        if started := os.fork():
            _supervise(started, spec["user"])
    if spec["confine"]:
        confine(spec, libc)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the starter says whether by a shell
    except OSError as error:
        _fail(_NOT_STARTED, f"{command[0]}: {error.strerror}")


def _fail(status: int, why: str) -> NoReturn:
    os.write(2, f"{why}\n".encode())
    os._exit(status)


if __name__ == "__main__":
    try:
        _start(json.loads(sys.argv[1]), sys.argv[2:], ctypes.CDLL(None, use_errno=True))
    except OSError as error:
        _fail(_NOT_CONFINED, f"sandbox: {error}")

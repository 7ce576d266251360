"""The system calls that a sandboxed command is refused, as a program for the kernel.

Refused is what reaches other processes, makes namespaces or mounts, loads code into the kernel, or
is new and large enough to be a way out; everything a library needs to compute stays.

A program of classic BPF, as the kernel's `userspace-api/seccomp_filter` describes it.
"""

import errno
import platform
import struct
from collections.abc import Sequence
from typing import NamedTuple

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_NEW_NAMESPACES = 0x7E020000
_X32 = 0x40000000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM = 1

# Refused as they are, except for these three, of which a part is.
_IN_PART = ("clone", "clone3", "socket")
_SAME_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip
_X86_64 = {
    "acct": 163, "add_key": 248, "bpf": 321, "chroot": 161, "clone": 56, "delete_module": 176,
    "finit_module": 313, "init_module": 175, "kcmp": 312, "kexec_file_load": 320,
    "kexec_load": 246, "keyctl": 250, "mount": 165, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "perf_event_open": 298, "pivot_root": 155, "process_vm_readv": 310,
    "process_vm_writev": 311, "ptrace": 101, "quotactl": 179, "reboot": 169, "request_key": 249,
    "setdomainname": 171, "sethostname": 170, "setns": 308, "settimeofday": 164, "socket": 41,
    "swapoff": 168, "swapon": 167, "syslog": 103, "umount2": 166, "unshare": 272,
    "userfaultfd": 323, "vhangup": 153,
}  # fmt: skip
_AARCH64 = {
    "acct": 89, "add_key": 217, "bpf": 280, "chroot": 51, "clone": 220, "delete_module": 106,
    "finit_module": 273, "init_module": 105, "kcmp": 272, "kexec_file_load": 294,
    "kexec_load": 104, "keyctl": 219, "mount": 40, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "perf_event_open": 241, "pivot_root": 41, "process_vm_readv": 270,
    "process_vm_writev": 271, "ptrace": 117, "quotactl": 60, "reboot": 142, "request_key": 218,
    "setdomainname": 162, "sethostname": 161, "setns": 268, "settimeofday": 170, "socket": 198,
    "swapoff": 225, "swapon": 224, "syslog": 116, "umount2": 39, "unshare": 97,
    "userfaultfd": 282, "vhangup": 58,
}  # fmt: skip


class _Machine(NamedTuple):
    architecture: int
    numbers: dict[str, int]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, {**_SAME_EVERYWHERE, **_X86_64}),
    "aarch64": _Machine(0xC00000B7, {**_SAME_EVERYWHERE, **_AARCH64}),
}


def seccomp_program(*, tcp: bool, datagrams: bool) -> bytes:
    """The filter for this machine's processor, empty where we have none.

    Without `tcp` no internet sockets are made, without `datagrams` only those for TCP.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return b""
    numbers = machine.numbers
    program = [
        *_load(_ARCHITECTURE), _jump(_EQUAL, machine.architecture, 1, 0), _return(_KILL),
        *_load(_NUMBER), _jump(_AT_LEAST, _X32, 0, 1), _refuse(errno.EPERM),
        *_when(numbers["clone3"], [_refuse(errno.ENOSYS)]),
        *_when(numbers["clone"], _without_namespaces()),
        *_when(numbers["socket"], _families(tcp=tcp, datagrams=datagrams)),
    ]  # fmt: skip
    for name in numbers.keys() - _IN_PART:
        program += _when(numbers[name], [_refuse(errno.EPERM)])
    return b"".join([*program, _return(_ALLOW)])


def _without_namespaces() -> list[bytes]:
    return [
        *_load(_FIRST), _jump(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refuse(errno.EPERM),
        _return(_ALLOW),
    ]  # fmt: skip


def _families(*, tcp: bool, datagrams: bool) -> list[bytes]:
    """Local sockets always, the internet's as asked for, all other families never."""
    allowed = [_UNIX, _NETLINK, *((_INET, _INET6) if tcp and datagrams else ())]
    program = _load(_FIRST)
    for family in allowed:
        program += [_jump(_EQUAL, family, 0, 1), _return(_ALLOW)]
    if tcp and not datagrams:
        streams = [*_load(_SECOND), _and(0xF), _jump(_EQUAL, _STREAM, 0, 1), _return(_ALLOW)]
        program += [
            _jump(_EQUAL, _INET, 1, 0), _jump(_EQUAL, _INET6, 0, len(streams)), *streams,
        ]  # fmt: skip
    return [*program, _refuse(errno.EACCES)]


def _when(number: int, then: Sequence[bytes]) -> list[bytes]:
    """`then` ends in a verdict; it may load something else."""
    return [_jump(_EQUAL, number, 0, len(then)), *then]


def _load(offset: int) -> list[bytes]:
    return [_instruction(_LOAD, 0, 0, offset)]


def _and(mask: int) -> bytes:
    return _instruction(_MASK, 0, 0, mask)


def _jump(test: int, value: int, if_so: int, if_not: int) -> bytes:
    return _instruction(test, if_so, if_not, value)


def _refuse(error: int) -> bytes:
    return _return(_ERRNO | error)


def _return(verdict: int) -> bytes:
    return _instruction(_RETURN, 0, 0, verdict)


def _instruction(code: int, if_so: int, if_not: int, value: int) -> bytes:
    return struct.pack("HBBI", code, if_so, if_not, value)

"""A directory that others have written, read so that nothing in it leads elsewhere.

Every file is opened from the directory's own descriptor, without following a link, and is what its
descriptor says: whoever swaps a folder for a link meanwhile gets an error, never another's bytes.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Self

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.names import DEEPEST, shown

_SYS_OPENAT2 = 437
_RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x04, 0x08
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
_LIBC = ctypes.CDLL(None, use_errno=True)
_HAS_SYSCALL = hasattr(_LIBC, "syscall") and os.uname().sysname == "Linux"
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a directory",
}
_NO_LINKS = (errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EAGAIN)
_UNKNOWN_CALL = (errno.ENOSYS, errno.EPERM)
"""What an older kernel says of `openat2`, and what filters of system calls do."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Beneath:
    """A directory while it is entered; its paths are relative, POSIX, and never leave it."""

    def __init__(self, directory: Path | int) -> None:
        """A path, whose last part may be no link, or a descriptor that is closed with this.

        OSError where there is no such directory.
        """
        if isinstance(directory, Path):
            directory = os.open(directory, _FLAGS | os.O_DIRECTORY)
        self._fd = directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def directory(self, path: str) -> "Beneath | None":
        """The directory at `path`, or None where a file is; errors as of `open`."""
        fd = _opened(self._fd, path)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return Beneath(fd)
        os.close(fd)
        return None

    def open(self, path: str) -> BufferedReader:
        """The plain file at `path`.

        NotFoundError where nothing is; InvalidError, which names it, where something else is, a
        part of the path is a link, or the file has a second name that may lie elsewhere.
        """
        fd = _opened(self._fd, path)
        try:
            check_plain(path, os.fstat(fd))
        except InvalidError:
            os.close(fd)
            raise
        return open(fd, "rb")

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything below that is no directory, in order, with what it is; no link is followed.

        InvalidError where it lies too deep, NotFoundError where it vanishes meanwhile.
        """
        return _walk(self._fd, "", DEEPEST)

    def link(self, path: str) -> str:
        """Where the link at `path` points to; errors as of `open`."""
        folder, name = os.path.split(path)
        fd = _opened(self._fd, folder or ".")
        try:
            return os.readlink(name, dir_fd=fd)
        except OSError as error:
            raise _error_of(path, error) from None
        finally:
            os.close(fd)


def check_plain(path: str, status: os.stat_result) -> None:
    """InvalidError, which names it, where a path is no plain file with this one name."""
    if not stat.S_ISREG(status.st_mode):
        raise _invalid(path, f"is {_kind(status)}; write a plain file")
    if status.st_nlink > 1:
        raise _invalid(path, "is a hard link to a file with another name; write a copy")


def _walk(directory: int, prefix: str, levels: int) -> Iterator[tuple[str, os.stat_result]]:
    if levels < 0:
        raise _invalid(prefix, f"lies over {DEEPEST} directories deep")
    for name in sorted(os.listdir(directory)):
        path = prefix + name
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise _error_of(path, error) from None
        if not stat.S_ISDIR(status.st_mode):
            yield path, status
            continue
        inner = _opened(directory, name, path)
        try:
            yield from _walk(inner, f"{path}/", levels - 1)
        finally:
            os.close(inner)


def _opened(directory: int, path: str, shown: str = "") -> int:
    """A descriptor of what lies at `path`; of a FIFO too, without waiting for its other end."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise _invalid(path, "leads out; give a path within the directory")
    try:
        return _openat2(directory, path)
    except OSError as error:
        if error.errno not in _UNKNOWN_CALL:
            raise _error_of(shown or path, error) from None
    try:
        return open_by_parts(directory, parts.parts)
    except OSError as error:
        raise _error_of(shown or path, error) from None


def _openat2(directory: int, path: str) -> int:
    if not _HAS_SYSCALL:
        raise OSError(errno.ENOSYS, "openat2")
    how = _OpenHow(_FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    name = os.fsencode(path)
    fd: int = _LIBC.syscall(
        _SYS_OPENAT2, directory, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def open_by_parts(directory: int, parts: tuple[str, ...]) -> int:
    """The same without `openat2`: part by part, each from the descriptor of the one before."""
    fd = os.open(".", _FLAGS | os.O_DIRECTORY, dir_fd=directory)
    for part in parts:
        parent = fd
        try:
            fd = os.open(part, _FLAGS, dir_fd=parent)
        finally:
            os.close(parent)
    return fd


def _error_of(path: str, error: OSError) -> InvalidError | NotFoundError:
    if error.errno == errno.ENOENT:
        return NotFoundError(f"there is no {shown(path)}")
    if error.errno in _NO_LINKS:
        return _invalid(path, "is or lies behind a link; write the file itself")
    if error.errno == errno.ENXIO:
        return _invalid(path, "is a socket; write a plain file")
    return _invalid(path, f"cannot be read: {error.strerror}")


def _invalid(path: str, complaint: str) -> InvalidError:
    """Whoever wrote the file chose its name too."""
    return InvalidError(f"{shown(path)} {complaint}", field=shown(path))


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "no plain file")

"""Files for the user alone that a process runs as: whoever else has an account reads none."""

import os
import stat
from pathlib import Path

import structlog

from loopwright_common.errors import UnavailableError

_TOO_WIDE = stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP
"""Passing through is left to the group, which `let_pass` gives to one other user."""
_DEEPEST = 64
log = structlog.get_logger()


def use_private_umask() -> None:
    """From here on this process and its children make directories 0700 and files 0600."""
    os.umask(0o077)


def make_private(directory: Path) -> None:
    """Make the directory for this user alone, or close to others the one that is there.

    UnavailableError where it belongs to another user, and any OSError of making it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise UnavailableError(
            f"{directory} belongs to user {found.st_uid}, who could read and change what is kept "
            "there; give a directory of this user's own"
        )
    if _narrow(directory, found.st_mode):
        log.warning("directory.closed-to-others", directory=str(directory))


def narrow_below(directory: Path) -> None:
    """Close to others all that lies in the directory and is ours, such as an earlier version's.

    What lies deeper than anything of ours, as a stage that was killed may leave it, is only behind
    directories that are closed.
    """
    narrowed = 0
    for folder, subfolders, files, descriptor in os.fwalk(directory):
        for name in (*subfolders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode):
                narrowed += _narrow(name, found.st_mode, descriptor)
        if len(Path(folder).relative_to(directory).parts) == _DEEPEST:
            subfolders.clear()
    if narrowed:
        log.warning("files.closed-to-others", directory=str(directory), count=narrowed)


def is_private(mode: int) -> bool:
    """Whether a file's mode lets nobody else read, write or list it."""
    return not mode & _TOO_WIDE


def let_pass(path: Path, group: int) -> None:
    """Let a group, and nobody else, pass through the directories above `path`."""
    for parent in path.absolute().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            os.chown(parent, -1, group)
            parent.chmod(stat.S_IMODE(mode) & ~stat.S_IRWXG | stat.S_IXGRP)


def _narrow(path: Path | str, mode: int, parent: int | None = None) -> bool:
    if is_private(mode):
        return False
    os.chmod(path, stat.S_IMODE(mode) & ~(stat.S_IRWXG | stat.S_IRWXO), dir_fd=parent)
    return True

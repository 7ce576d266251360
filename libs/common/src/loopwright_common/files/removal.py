"""Removing a directory that others have written, however they have written it."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_LEVELS = 64


def remove_tree(directory: Path) -> None:
    """Remove the directory with all below it; no link is followed, and what resists stays.

    However deep it is, few levels are open at once: what lies deeper is brought to the top first.
    """
    with suppress(OSError):
        _permit(directory, None)
        top = os.open(directory, _FLAGS)
        try:
            raised = os.listdir(top)
            while raised:
                name = raised.pop()
                with suppress(OSError):
                    _remove(top, name, _LEVELS, top, raised)
        finally:
            os.close(top)
        directory.rmdir()


def _remove(parent: int, name: str, levels: int, top: int, raised: list[str]) -> None:
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    _permit(name, parent)
    if not levels:
        new_name = secrets.token_hex(16)
        os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=top)
        raised.append(new_name)
        return
    inner = os.open(name, _FLAGS, dir_fd=parent)
    try:
        for each in os.listdir(inner):
            with suppress(OSError):
                _remove(inner, each, levels - 1, top, raised)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _permit(path: Path | str, parent: int | None) -> None:
    """Let us into a directory of ours that was closed; root needs no leave."""
    if os.geteuid():
        os.chmod(path, stat.S_IRWXU, dir_fd=parent)

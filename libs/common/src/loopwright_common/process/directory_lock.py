"""A directory that belongs to one process at a time, and to one user."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from loopwright_common.errors import ConflictError, UnavailableError
from loopwright_common.files.private import make_private, narrow_below

_LOCK = "lock"


@contextmanager
def exclusive_directory(directory: Path, holder: str, remedy: str) -> Generator[None, None, None]:
    """Make the directory, for this user alone, and hold it until the block or this process ends.

    ConflictError while another `holder` has it, UnavailableError when nothing can be written there
    or another user has it; all say the `remedy`, such as which setting names another directory.
    """
    was_held = (directory / _LOCK).exists()  # else what lies there may be somebody's own
    with _lock_file(directory, remedy) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"{directory} is in use by another {holder}; {remedy}") from None
        if was_held:
            narrow_below(directory)
        yield


def _lock_file(directory: Path, remedy: str) -> TextIO:
    try:
        make_private(directory)
        return (directory / _LOCK).open("w")
    except UnavailableError as error:
        raise UnavailableError(f"{error}; {remedy}") from None
    except OSError as error:
        raise UnavailableError(
            f"{directory} cannot be written to ({error.strerror}); {remedy}"
        ) from None

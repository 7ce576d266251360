"""A directory that belongs to one process at a time."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from loopwright_common.errors import ConflictError, UnavailableError


@contextmanager
def exclusive_directory(directory: Path, holder: str, remedy: str) -> Generator[None, None, None]:
    """Make the directory and hold it until the block or this process ends.

    ConflictError while another `holder` has it, UnavailableError when nothing can be written there;
    both say the `remedy`, such as which setting names another directory.
    """
    with _lock_file(directory, remedy) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"{directory} is in use by another {holder}; {remedy}") from None
        yield


def _lock_file(directory: Path, remedy: str) -> TextIO:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return (directory / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{directory} cannot be written to ({error.strerror}); {remedy}"
        ) from None

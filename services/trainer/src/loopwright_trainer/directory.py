"""The trainer's own directory: of one process at a time, since runs work in it."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from loopwright_common.errors import ConflictError, UnavailableError

_REMEDY = "give this trainer a directory of its own with LOOPWRIGHT_TRAINER_DIRECTORY"


@contextmanager
def held(directory: Path) -> Generator[None, None, None]:
    """Hold the directory for this process; ConflictError while another trainer holds it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{directory} cannot be the trainer's directory ({error.strerror}); {_REMEDY}"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another trainer works in {directory}; {_REMEDY}") from None
        yield

"""The directory that outlives the process; one process at a time works in it."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from loopwright_common.errors import UnavailableError

_SETTING = "LOOPWRIGHT_SCORER_CACHE_DIR"


@contextmanager
def locked(directory: Path) -> Generator[None, None, None]:
    """Hold the directory; UnavailableError while another replica has it, or nobody may write."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("ab")
    except OSError as error:
        raise UnavailableError(
            f"{directory}: {error.strerror}; set {_SETTING} to a directory that can be written"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"{directory} is in use by another scorer; "
                f"give each replica on this machine its own {_SETTING}"
            ) from None
        yield

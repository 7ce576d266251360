"""The deployer's directory belongs to one process, which empties its scratch space at the start."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from loopwright_common.errors import ConflictError, UnavailableError

_REMEDY = "set LOOPWRIGHT_DEPLOYER_WORK_DIR to"


@contextmanager
def held(work_dir: Path) -> Generator[None, None, None]:
    """Hold the directory; ConflictError while another process does, until that one ends."""
    with _lock_file(work_dir) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{work_dir} is in use by another deployer; {_REMEDY} a directory for this one"
            ) from None
        yield


def _lock_file(work_dir: Path) -> TextIO:
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        return (work_dir / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{work_dir} cannot be written to ({error.strerror}); {_REMEDY} another directory"
        ) from None

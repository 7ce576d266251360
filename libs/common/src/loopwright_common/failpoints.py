"""Named places where a test may kill the process, to prove that nothing is lost there."""

import os
import signal
from contextlib import suppress
from pathlib import Path

_VARIABLE = "LOOPWRIGHT_FAILPOINT"
_DIRECTORY_VARIABLE = "LOOPWRIGHT_FAILPOINT_DIRECTORY"
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die by SIGKILL here when `LOOPWRIGHT_FAILPOINT` is `name` or `name:N` (the N-th pass).

    So does a process that runs already, once `LOOPWRIGHT_FAILPOINT_DIRECTORY` has a file named by
    its id that says so.
    """
    target, _, nth = _wanted().partition(":")
    if target != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def _wanted() -> str:
    if directory := os.environ.get(_DIRECTORY_VARIABLE):
        with suppress(FileNotFoundError):
            return (Path(directory) / str(os.getpid())).read_text()
    return os.environ.get(_VARIABLE, "")

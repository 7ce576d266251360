"""Named places where a test may kill the process, to prove that nothing is lost there."""

import os
import signal

_VARIABLE = "LOOPWRIGHT_FAILPOINT"
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die by SIGKILL here when `LOOPWRIGHT_FAILPOINT` is `name` or `name:N` (the N-th pass)."""
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return
    target, _, nth = wanted.partition(":")
    if target != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)

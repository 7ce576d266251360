"""The jars' download in a process of its own, so that a long one can be interrupted."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from loopwright_common.errors import UnavailableError
from loopwright_common.process import subprocesses

_COMMAND = (sys.executable, "-m", "loopwright.engines", "--jars")
_LOOK_SECONDS = 0.5


async def fetch(directory: Path, log: Path, report: Callable[[str], None]) -> None:
    """Return once the jars are here, passing on each line of progress.

    Raises UnavailableError with the download's last line when it fails.
    """
    reported = len(_lines(log))
    process = await subprocesses.start(_COMMAND, cwd=directory, env=os.environ, output=log)
    passing_on = asyncio.create_task(_pass_on(log, reported, report))
    try:
        ended = await subprocesses.finish(process, None)
    finally:
        passing_on.cancel()
    if ended.returncode != 0:
        raise UnavailableError((_lines(log) or ["Kafka's jars were not fetched"])[-1])


async def _pass_on(log: Path, reported: int, report: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        lines = _lines(log)
        for line in lines[reported:]:
            report(line)
        reported = len(lines)


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() if log.exists() else []

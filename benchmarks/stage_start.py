"""What a stage waits for before the first instruction of its command, at each sandbox level.

A command that says its time and ends is started as the trainer starts one, from a workspace of a
few files, and as it is. Rounds of the levels take turns. Beside it stands what a
command that imports pandas and scikit-learn needs by itself.

    python -m benchmarks.stage_start [--rounds 30]
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loopwright_common.process import subprocesses
from loopwright_common.sandbox import Level, Sandbox, detect
from loopwright_trainer.steps.confinement import StageConfinement

_LEVELS = (Level.NONE, Level.PROCESS, Level.NAMESPACE)
_FIRST = "exec date +%s.%N"
_IMPORTS = f"exec {sys.executable} -c 'import pandas, sklearn.linear_model'"


async def seconds_to_start(sandbox: Sandbox, work: Path) -> float:
    """Until the command of a shell has begun, with what wrapping it takes."""
    confinement = StageConfinement(sandbox=sandbox, memory=8 << 30, processes=1024, disk=1 << 30)
    output = work.parent / "output"
    output.unlink(missing_ok=True)
    began = time.time()
    policy = confinement.policy(work, None)
    wrapped = await asyncio.to_thread(sandbox.wrap, ["/bin/sh", "-c", _FIRST], policy)
    process = await subprocesses.start(
        wrapped, cwd=work, env={"PATH": "/usr/bin:/bin"}, output=output
    )
    finished = await subprocesses.finish(process, 60)
    if finished.returncode:
        raise RuntimeError(f"it ended with status {finished.returncode}: {output.read_text()}")
    return float(output.read_text()) - began


async def seconds_of(command: str, work: Path) -> float:
    """Of a whole command, as it is."""
    process = await subprocesses.start(
        ["/bin/sh", "-c", command], cwd=work, env={"PATH": "/usr/bin:/bin"}, output=work / "output"
    )
    return (await subprocesses.finish(process, 60)).seconds


async def measure(
    sandboxes: Mapping[Level, Sandbox], work: Path, rounds: int
) -> tuple[dict[Level, list[float]], list[float]]:
    """Seconds to the start at each level, and of the imports."""
    started: dict[Level, list[float]] = {level: [] for level in sandboxes}
    imported: list[float] = []
    for _ in range(rounds):
        for level, sandbox in sandboxes.items():
            started[level].append(await seconds_to_start(sandbox, work))
        imported.append(await seconds_of(_IMPORTS, work))
    return started, imported


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage_start")
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    found = {level: detect(level) for level in _LEVELS}
    sandboxes = {level: one for level, one in found.items() if one.level is level}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory).resolve() / "work"
        work.mkdir()
        for number in range(10):
            (work / f"file-{number}").write_bytes(os.urandom(1 << 12))
        started, imported = asyncio.run(measure(sandboxes, work, rounds))
    for level, seconds in started.items():
        say(f"level {level}", seconds)
    say("a command that imports pandas and scikit-learn, by itself", imported)
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")


def say(what: str, seconds: Sequence[float]) -> None:
    least, median = min(seconds), statistics.median(seconds)
    sys.stdout.write(f"{what}: median {1000 * median:.0f} ms, least {1000 * least:.0f} ms\n")


if __name__ == "__main__":
    main()

"""A staging scorer for a package on disk, started as the deployer starts it."""

import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from loopwright_common.sandbox import detect
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess
from loopwright_deployer.staging.warm_processes import SCORER


def scorer_command(directory: Path) -> ConfinedCommand:
    """With its directories and its log in this one."""
    scratch, log = directory / "scratch", directory / "log"
    return ConfinedCommand(SCORER, detect(), scratch, log, memory=8 << 30, listens=True)


@asynccontextmanager
async def staging_scorer(
    directory: Path, package: Path, model: str, version: int
) -> AsyncGenerator[str, None]:
    """Its URL; packages that need another Python get ours."""
    process = await ConfinedProcess.start(scorer_command(directory))
    try:
        placed = shutil.copytree(package, process.directory / "package")
        order = {"package": str(placed), "model": model, "version": version}
        await process.ask({**order, "python": sys.executable}, 60)
        yield process.url
    finally:
        await process.close()

"""`loopwright up --engine kafka`."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from loopwright.data_dir import Engine, locked
from loopwright.fleet.fleet import Fleet
from loopwright.fleet.services import Site
from loopwright.output import console, greet


def main(data_dir: Path, replicas: Mapping[str, int]) -> None:
    """Run until interrupted; ConflictError when the directory is in use."""
    data_dir = data_dir.resolve()
    with locked(data_dir, Engine.KAFKA), asyncio.Runner() as runner:
        runner.run(_until_told(Fleet(Site(data_dir, replicas=replicas), _tell)))


async def _until_told(fleet: Fleet) -> None:
    """Also while it starts, one SIGINT or SIGTERM ends it in order; further ones change nothing."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    work, wait = asyncio.create_task(_run(fleet)), asyncio.create_task(told.wait())
    await asyncio.wait({work, wait}, return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    wait.cancel()
    try:
        await work
    except asyncio.CancelledError:
        _tell("stopped; nothing is left running")
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _run(fleet: Fleet) -> None:
    async with fleet:
        greet(fleet.site.data_dir, fleet.places)
        await asyncio.Event().wait()


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False)

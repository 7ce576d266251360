"""`loopwright up --engine kafka`."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from loopwright.data_dir import Engine, locked
from loopwright.fleet.fleet import Fleet
from loopwright.fleet.services import FleetLayout
from loopwright.output import console, greet
from loopwright_common.files.private import use_private_umask


def main(data_dir: Path, replicas: Mapping[str, int]) -> None:
    """Run until interrupted; ConflictError when the directory is in use."""
    use_private_umask()
    data_dir = data_dir.resolve()
    with locked(data_dir, Engine.KAFKA), asyncio.Runner() as runner:
        runner.run(_until_signalled(Fleet(FleetLayout(data_dir, replicas=replicas), _report)))


async def _until_signalled(fleet: Fleet) -> None:
    """Also while it starts, one SIGINT or SIGTERM ends it in order; further ones change nothing."""
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    work, wait = asyncio.create_task(_run(fleet)), asyncio.create_task(signalled.wait())
    await asyncio.wait({work, wait}, return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    wait.cancel()
    try:
        await work
    except asyncio.CancelledError:
        _report("stopped; nothing is left running")
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _run(fleet: Fleet) -> None:
    async with fleet:
        greet(fleet.layout.data_dir, fleet.addresses)
        await asyncio.Event().wait()


def _report(text: str) -> None:
    console.print(text, markup=False, highlight=False)

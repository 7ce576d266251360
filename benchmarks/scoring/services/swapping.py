"""The scorer as its service composes it, routed by what is put into a directory.

python swapping.py DIRECTORY
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

from loopwright_common.bus import EventBus
from loopwright_common.events import RoutesChanged
from loopwright_common.process import runtime
from loopwright_common.process.service import Service
from loopwright_scorer import main as scorer
from loopwright_scorer.new_event import new_event
from loopwright_scorer.process_tuning import tune_process
from loopwright_scorer.settings import ScorerSettings

_SECONDS = 0.02


async def _build(settings: ScorerSettings, bus: EventBus, stack: AsyncExitStack) -> Service:
    service = await scorer.build(settings, bus, stack)
    service.loops.append(partial(_publish, bus, Path(sys.argv[1])))
    return service


async def _publish(bus: EventBus, directory: Path) -> None:
    """The embedded bus is its process's own, so routes are published there."""
    while True:
        for data in await asyncio.to_thread(_taken, directory):
            key = f"{data.environment}/{data.model_id}"
            await bus.publish([new_event(data, key=key, subject=f"models/{data.model}")])
        await asyncio.sleep(_SECONDS)


def _taken(directory: Path) -> list[RoutesChanged]:
    paths = sorted(directory.glob("*.json"))
    taken = [RoutesChanged.from_bytes(path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    return taken


if __name__ == "__main__":
    tune_process()
    runtime.main(_build, ScorerSettings(), new_loop=uvloop.new_event_loop)

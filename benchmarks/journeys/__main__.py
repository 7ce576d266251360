"""`python -m benchmarks.journeys`: the ordinary journey of repositories as people have them.

For each: first commit to champion, then an edit of one parameter, committed, until that version
is champion under a trickle of calls, by itself. Prints seconds in all; of either commit those until
its version is registered (run) and from then until it is champion (deploy); and which part of the
second deploy waited for evidence, and which is overhead.

    python -m benchmarks.journeys [--engine embedded|kafka] [--rate 5] [--only NAME] [--fast]

With `--fast` it is the shipped example under the fast policy of docs/deploying.md, called 50 times
a second unless said otherwise.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.journeys.journey import Journey, Promotion, StoppedError
from benchmarks.journeys.repositories import FAST_EXAMPLE, REPOSITORIES, Repository
from loopwright.data_dir import Engine
from loopwright.demo import system

_WARM_UP = 15.0
_COLUMNS = ("all", "run 1", "deploy 1", "run 2", "deploy 2", "evidence", "overhead")


async def main(engine: Engine, rate: float, repositories: Sequence[Repository]) -> None:
    console = Console()
    title = f"{engine.described}; {rate:g} calls a second; seconds"
    table = Table("", *_COLUMNS, title=title)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "system").mkdir()
        async with (
            system.running(place / "system", engine) as running,
            httpx.AsyncClient(timeout=60) as http,
        ):
            await asyncio.sleep(_WARM_UP)
            for repository in repositories:
                directory = place / "system" / repository.name
                journey = Journey(http, running.urls, repository, directory)
                try:
                    first, later = await _promotions(journey, rate)
                except StoppedError as stopped:
                    console.print(str(stopped))
                    continue
                figures = _figures(first, later)
                table.add_row(repository.name, *(f"{each:.1f}" for each in figures))
                states = ", ".join(f"{state} {s:.1f}" for state, s in later.states.items())
                console.print(f"{repository.name}: {figures[0]:.1f} s; the later one {states}")
    console.print(table)
    console.print(f"load when it ended: {', '.join(f'{each:.1f}' for each in os.getloadavg())}")


async def _promotions(journey: Journey, rate: float) -> tuple[Promotion, Promotion]:
    """The first version's and, under calls, the later one's; StoppedError where a call failed."""
    first = await journey.first()
    async with journey.called(rate) as callers:
        later = await journey.later(2, callers)
    if callers.failed:
        raise StoppedError(f"{len(callers.failed)} calls failed: {callers.failed[0]}")
    return first, later


def _figures(first: Promotion, later: Promotion) -> Sequence[float]:
    return (
        first.seconds + later.seconds,
        first.run,
        first.deploying,
        later.run,
        later.deploying,
        later.evidence,
        later.overhead,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Engine, choices=list(Engine), default=Engine.EMBEDDED)
    parser.add_argument("--rate", type=float, help="calls a second: 5, and 50 with --fast")
    parser.add_argument("--only", choices=[each.name for each in REPOSITORIES])
    parser.add_argument("--fast", action="store_true", help="the example under the fast policy")
    asked = parser.parse_args()
    chosen = [each for each in REPOSITORIES if asked.only in (None, each.name)]
    asyncio.run(
        main(
            asked.engine,
            asked.rate or (50.0 if asked.fast else 5.0),
            [FAST_EXAMPLE] if asked.fast else chosen,
        )
    )

"""The consumers that common declares dead-letter topics for are those that the services run."""

from pathlib import Path

from loopwright.embedded import composed
from loopwright_common.bus.topics import CONSUMERS
from loopwright_common.delivery.consumer import Consumer


async def test_every_consumer_has_its_dead_letter_topic_declared(tmp_path: Path) -> None:
    async with composed(tmp_path) as services:
        loops = [getattr(loop, "__self__", None) for each in services for loop in each.loops]
    names = [owner.name for owner in loops if isinstance(owner, Consumer)]

    assert sorted(names) == sorted(CONSUMERS)

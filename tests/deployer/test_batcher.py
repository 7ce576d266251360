"""What many tasks ask for at once is done together, and answered to each."""

import asyncio
from collections.abc import Sequence

import pytest

from loopwright_common.errors import NotFoundError, UnavailableError
from loopwright_deployer.batcher import Batcher


class Doubling:
    """Doubles numbers, in `batches`, once it is `open`; negative ones are missing."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.fault: Exception | None = None

    async def work(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        await self.open.wait()
        if self.fault:
            raise self.fault
        return [2 * item if item >= 0 else NotFoundError(f"no {item}") for item in items]


async def test_what_is_asked_at_once_and_meanwhile_is_answered_in_two_batches() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.work)
    first = [asyncio.create_task(batcher.ask(number)) for number in range(3)]
    await doubling.begun.wait()
    second = [asyncio.create_task(batcher.ask(number)) for number in (3, 4)]
    await asyncio.sleep(0)
    doubling.open.set()

    assert await asyncio.gather(*first, *second) == [0, 2, 4, 6, 8]
    assert doubling.batches == [[0, 1, 2], [3, 4]]


async def test_one_that_fails_fails_alone_and_a_batch_that_fails_fails_all() -> None:
    doubling = Doubling()
    doubling.open.set()
    batcher = Batcher(doubling.work)

    answers = await asyncio.gather(batcher.ask(1), batcher.ask(-1), return_exceptions=True)
    doubling.fault = UnavailableError("away")
    with pytest.raises(UnavailableError, match="away"):
        await batcher.ask(2)
    doubling.fault = None

    assert answers[0] == 2
    assert isinstance(answers[1], NotFoundError)
    assert await batcher.ask(3) == 6


async def test_whoever_is_cancelled_disturbs_no_other() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.work)
    impatient, patient = (asyncio.create_task(batcher.ask(number)) for number in (1, 2))
    await doubling.begun.wait()
    impatient.cancel()
    await asyncio.wait([impatient])
    doubling.open.set()

    assert await patient == 4
    await batcher.drain()
    assert impatient.cancelled()

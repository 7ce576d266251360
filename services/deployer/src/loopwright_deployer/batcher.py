"""Does alike work of many tasks together, as one transaction for what each would do in its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
_MOST = 128
"""In one batch, so that it keeps nobody else waiting for the database for long."""


class Batcher(Generic[K, V]):
    """What is asked for while a batch is under way makes the next one; alone, nothing waits."""

    def __init__(self, work: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        """`work` gives for each item, in their order, what it is answered or fails with.

        What it raises itself is the answer of each.
        """
        self._work = work
        self._asked: list[tuple[K, asyncio.Future[V]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: K) -> V:
        """The answer to the item; whoever is cancelled meanwhile disturbs no other."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._asked.append((item, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._answer_all())
        return await answer

    async def drain(self) -> None:
        """Until no batch is under way."""
        while self._working is not None:
            await asyncio.wait([self._working])

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked[:_MOST], self._asked[_MOST:]
                await self._answer([each for each in batch if not each[1].done()])
        finally:
            self._working = None

    async def _answer(self, batch: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        found: Sequence[V | Exception]
        try:
            found = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  (the answer of all that asked)
            found = [error] * len(batch)
        for (_, answer), value in zip(batch, found, strict=True):
            if answer.done():
                continue
            if isinstance(value, Exception):
                answer.set_exception(value)
            else:
                answer.set_result(value)

"""Where answers are computed: at once on the event loop, or, when that would block, in a thread.

A model computes one batch at a time. Calls that come meanwhile wait, and what has come when it is
free goes as the next batch: batches form under load and never by waiting.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge

from loopwright_common.errors import LoopwrightError
from loopwright_scorer.errors import DeadlineError, OverloadedError
from loopwright_scorer.inputs import Inputs, joined
from loopwright_scorer.models import LoadedModel, Scored

LOOP_BYTES = 256 << 10
"""Bodies up to this size are read, and answers to them written, on the event loop."""
_LOOP_SECONDS = 0.003
"""Calls expected to take longer are computed in a thread."""
_MOST_THREADS = 64
"""Models that compute at the same time: threads of their own, so that one that hangs holds none."""
_BATCH_SECONDS = 0.1
"""How long a batch may be expected to take, so that nobody waits long behind it."""


@dataclass(slots=True, eq=False)
class _Waiting:
    inputs: Inputs
    deadline: float
    since: int
    done: asyncio.Future[Scored]
    has_begun: bool = False
    """What has begun is answered, however late, and counts as evidence of its version."""


@dataclass(slots=True)
class _Line:
    """Who waits for a model; `calls` counts those in its batch too."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    calls: int = 0
    is_served: bool = False


class Compute:
    """Computes for all models of a replica; at most `queue` calls wait.

    One model's take no more places than are left, so that others find some when it hangs.
    """

    def __init__(
        self,
        queue: int,
        bring: Callable[[LoadedModel], Awaitable[None]] | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`bring` puts a model into memory that is not there."""
        self._room = self._queue = queue
        self._bring = bring
        self._lines: dict[int, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "compute")
        Gauge(
            "loopwright_compute_waiting",
            "Calls that wait for a model or are computed in a thread.",
            registry=registry,
        ).set_function(lambda: self._queue - self._room)

    def at_once(
        self, model: LoadedModel, inputs: Inputs, within: float = _LOOP_SECONDS
    ) -> Scored | None:
        """The answer where it takes no more seconds; None where `later` has to be asked."""
        if model.seconds(inputs.rows) > within:
            return None
        return model.predict(inputs)

    async def later(self, model: LoadedModel, inputs: Inputs, deadline: float) -> Scored:
        """Raises OverloadedError when too many wait, DeadlineError past `deadline` (monotonic)."""
        line = self._lines.get(id(model)) or _Line()
        if line.calls >= self._room:
            raise OverloadedError(
                f"{line.calls} calls wait for this model, and {self._room} of {self._queue} places"
                " are left; come again, add workers or replicas, or raise LOOPWRIGHT_SCORER_QUEUE"
            )
        self._lines[id(model)] = line
        self._room -= 1
        line.calls += 1
        model.callers += 1
        try:
            if not model.is_in_memory and self._bring is not None:
                await _within(deadline, self._bring(model))
            return await self._joined(line, model, inputs, deadline)
        finally:
            model.callers -= 1
            line.calls -= 1
            self._room += 1
            self._forget(model, line)

    async def _joined(
        self, line: _Line, model: LoadedModel, inputs: Inputs, deadline: float
    ) -> Scored:
        done: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        each = _Waiting(inputs, deadline, time.perf_counter_ns(), done)
        line.waiting.append(each)
        if not line.is_served:
            line.is_served = True
            task = asyncio.create_task(self._serve(model, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if deadline < math.inf:
            await asyncio.wait([done], timeout=deadline - time.monotonic())
            if not done.done() and not each.has_begun:
                done.cancel()
                raise late()
        return await done

    async def _serve(self, model: LoadedModel, line: _Line) -> None:
        """Until nobody waits; it holds the model, also for callers that have gone."""
        model.callers += 1
        while batch := _next_batch(model, line.waiting):
            began = time.perf_counter_ns()
            results = await self._in_thread(model, [each.inputs for each in batch])
            for each, result in zip(batch, results, strict=True):
                _settle(each, result, began)
        model.callers -= 1
        line.is_served = False
        self._forget(model, line)

    def _forget(self, model: LoadedModel, line: _Line) -> None:
        if not line.calls and not line.is_served:
            self._lines.pop(id(model), None)

    async def _in_thread(
        self, model: LoadedModel, parts: Sequence[Inputs]
    ) -> Sequence[Scored | BaseException]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, _compute, model, parts)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            return [error] * len(parts)


def _next_batch(model: LoadedModel, waiting: deque[_Waiting]) -> list[_Waiting]:
    batch: list[_Waiting] = []
    rows = 0
    while waiting:
        each = waiting[0]
        if batch and model.seconds(rows + each.inputs.rows) > _BATCH_SECONDS:
            break
        waiting.popleft()
        if each.done.done():  # the caller went away
            continue
        if time.monotonic() > each.deadline:
            each.done.set_exception(late())
            continue
        each.has_begun = True
        batch.append(each)
        rows += each.inputs.rows
    return batch


def _compute(model: LoadedModel, parts: Sequence[Inputs]) -> list[Scored | BaseException]:
    """Results in order; a batch that fails is computed call by call, so that each fails alone."""
    if len(parts) > 1:
        try:
            together = model.predict(joined(parts))
        except LoopwrightError:
            together = None
        if together is not None and together.outputs is not None:
            return _apart(parts, together)
    return [_alone(model, part) for part in parts]


def _apart(parts: Sequence[Inputs], together: Scored) -> list[Scored | BaseException]:
    assert together.outputs is not None  # noqa: S101  (asked before)
    scored: list[Scored | BaseException] = []
    start = 0
    for part in parts:
        scored.append(Scored(part, together.outputs.rows(start, start + part.rows)))
        start += part.rows
    return scored


def _alone(model: LoadedModel, part: Inputs) -> Scored | BaseException:
    try:
        return model.predict(part)
    except LoopwrightError as error:
        return error


def _settle(each: _Waiting, result: Scored | BaseException, began: int) -> None:
    if each.done.done():
        return
    if isinstance(result, BaseException):
        each.done.set_exception(result)
    else:
        result.queued_ns = began - each.since
        each.done.set_result(result)


def late() -> DeadlineError:
    return DeadlineError("the time that the request gave is up")


async def _within(deadline: float, waited_for: Awaitable[None]) -> None:
    limit = asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic())
    try:
        async with limit:
            await waited_for
    except TimeoutError:
        if limit.expired():
            raise late() from None
        raise

"""Where answers are computed: at once on the event loop, or, when that would block, in a thread.

A model computes one batch at a time. Calls that come meanwhile wait, and what has come when it is
free goes as the next batch: batches form under load and never by waiting.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from loopwright_common.errors import LoopwrightError
from loopwright_scorer.errors import DeadlineError, OverloadedError
from loopwright_scorer.inputs import Inputs, joined
from loopwright_scorer.models import LoadedModel, Scored

_LOOP_SECONDS = 0.003
"""Calls expected to take longer are computed in a thread."""
_BATCH_SECONDS = 0.1
"""How long a batch may be expected to take, so that nobody waits long behind it."""


@dataclass(slots=True, eq=False)
class _Waiting:
    inputs: Inputs
    deadline: float
    since: int
    done: asyncio.Future[Scored]


_Line = deque[_Waiting]


class Compute:
    """Computes for all models of a replica; at most `queue` calls wait."""

    def __init__(self, queue: int) -> None:
        self._room = self._queue = queue
        self._lines: dict[int, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Calls that wait for a model to be free."""
        return self._queue - self._room

    def at_once(self, model: LoadedModel, inputs: Inputs) -> Scored | None:
        """The answer where it is quick; None where `later` has to be asked."""
        if model.seconds(inputs.rows) > _LOOP_SECONDS:
            return None
        return model.predict(inputs)

    async def later(self, model: LoadedModel, inputs: Inputs, deadline: float) -> Scored:
        """Raises OverloadedError when too many wait, DeadlineError past `deadline` (monotonic)."""
        if not self._room:
            raise OverloadedError(
                f"{self._queue} calls wait already; come again, add workers or replicas, or raise"
                " LOOPWRIGHT_SCORER_QUEUE"
            )
        self._room -= 1
        try:
            return await self._joined_line(model, inputs, deadline)
        finally:
            self._room += 1

    async def _joined_line(self, model: LoadedModel, inputs: Inputs, deadline: float) -> Scored:
        done: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        line = self._lines.get(id(model))
        if line is None:
            line = self._lines[id(model)] = deque()
            task = asyncio.create_task(self._serve(model, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        line.append(_Waiting(inputs, deadline, time.perf_counter_ns(), done))
        return await done

    async def _serve(self, model: LoadedModel, line: _Line) -> None:
        """Until nobody waits; the line goes with its last call, and with it the model."""
        while batch := _next_batch(model, line):
            began = time.perf_counter_ns()
            results = await _in_thread(model, [each.inputs for each in batch])
            for each, result in zip(batch, results, strict=True):
                _settle(each, result, began)
        del self._lines[id(model)]


def _next_batch(model: LoadedModel, waiting: _Line) -> list[_Waiting]:
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
            each.done.set_exception(DeadlineError("the time that the request gave is up"))
            continue
        batch.append(each)
        rows += each.inputs.rows
    return batch


async def _in_thread(
    model: LoadedModel, parts: Sequence[Inputs]
) -> Sequence[Scored | BaseException]:
    try:
        return await asyncio.to_thread(_compute, model, parts)
    except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
        return [error] * len(parts)


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

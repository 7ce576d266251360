"""The calls that wait for a model, and which of them are computed next."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from loopwright_scorer.errors import DeadlineExceededError
from loopwright_scorer.models.loaded_model import LoadedModel, ModelResult
from loopwright_scorer.tensors.inputs import ModelInputs

_BATCH_SECONDS = 0.1
"""How long a batch may be expected to take, so that nobody waits long behind it."""


@dataclass(slots=True, eq=False)
class PendingCall:
    """A call that waits; one that has begun is finished, and counts as evidence of its version."""

    inputs: ModelInputs
    deadline: float
    """Seconds of the monotonic clock."""
    done: asyncio.Future[ModelResult]
    since: int = 0
    """When it was appended to the queue, in ns."""
    has_begun: bool = False

    def abandon(self, error: Exception) -> bool:
        """End it with an error; False where it was too late for that."""
        if self.has_begun or self.done.done():
            return False
        self.done.set_exception(error)
        return True

    def settle(self, result: ModelResult | BaseException, began: int) -> None:
        """Give the result, computed since `began` (ns), to who waits, unless that was cancelled."""
        if self.done.done():
            return
        if isinstance(result, BaseException):
            self.done.set_exception(result)
        else:
            result.queued_ns = began - self.since
            self.done.set_result(result)


@dataclass(slots=True)
class BatchQueue:
    """The calls that wait for one model; `calls` counts those in its batch too."""

    waiting: deque[PendingCall] = field(default_factory=deque)
    calls: int = 0
    is_drained: bool = False

    def append(self, each: PendingCall) -> None:
        each.since = time.perf_counter_ns()
        self.waiting.append(each)

    def discard(self, each: PendingCall) -> None:
        """Drop a call, unless it has begun, so that no batch to come has it."""
        if not each.has_begun:
            with suppress(ValueError):
                self.waiting.remove(each)

    def next_batch(self, model: LoadedModel) -> list[PendingCall]:
        """The calls that begin now; none when none waits."""
        batch: list[PendingCall] = []
        rows = 0
        while self.waiting:
            each = self.waiting[0]
            if batch and model.seconds(rows + each.inputs.rows) > _BATCH_SECONDS:
                break
            self.waiting.popleft()
            if time.monotonic() > each.deadline:
                each.abandon(deadline_exceeded())
            if each.done.done():
                continue
            each.has_begun = True
            batch.append(each)
            rows += each.inputs.rows
        return batch


def deadline_exceeded() -> DeadlineExceededError:
    return DeadlineExceededError("the time that the request gave is up")

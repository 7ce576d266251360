"""Where answers are computed that would block the event loop: in a thread, one batch a model.

A model computes one batch at a time. Calls that come meanwhile wait, and what has come when it is
free goes as the next batch: batches form under load and never by waiting.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_common.errors import ClientDisconnectedError, LoopwrightError, OverloadedError
from loopwright_scorer.inference.batch_queue import BatchQueue, PendingCall, deadline_exceeded
from loopwright_scorer.models.loaded_model import LoadedModel, ModelResult
from loopwright_scorer.tensors.array_stack import ShapeMismatchError
from loopwright_scorer.tensors.inputs import ModelInputs, concatenate_inputs

Disconnection = Callable[[], Awaitable[object]]
"""Returns once the caller has gone; cancelled when that is of no interest any more."""
LOOP_BYTES = 256 << 10
"""Bodies up to this size are read, and answers to them written, on the event loop."""
_THREADS_LIMIT = 64
"""Models that compute at the same time: threads of their own, so that one that hangs holds none."""


class InferenceExecutor:
    """Computes for all models of a replica what is enqueued; at most `queue` calls wait.

    One model's calls take no more places than are left, so that others find some when it hangs.
    """

    def __init__(
        self,
        queue: int,
        load: Callable[[LoadedModel], Awaitable[None]] | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`load` puts a model into memory that is not there."""
        self._free = self._queue = queue
        self._load = load
        self._queues: dict[int, BatchQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_THREADS_LIMIT, "compute")
        Gauge(
            "loopwright_compute_waiting",
            "Calls that wait for a model or are computed in a thread.",
            registry=registry,
        ).set_function(lambda: self._queue - self._free)
        self._abandoned = Counter(
            "loopwright_calls_abandoned",
            "Calls whose callers had gone before computing them began.",
            registry=registry,
        )

    async def enqueue(
        self,
        model: LoadedModel,
        inputs: ModelInputs,
        deadline: float,
        disconnected: Disconnection | None = None,
    ) -> ModelResult:
        """OverloadedError when too many wait; where computing has not begun, DeadlineExceededError
        past `deadline` (seconds of the monotonic clock) and ClientDisconnectedError once
        `disconnected` returns.
        """
        queue = self._queue_of(model)
        each = PendingCall(inputs, deadline, asyncio.get_running_loop().create_future())
        self._free -= 1
        queue.calls += 1
        model.callers += 1
        try:
            with self._abandoning(each, disconnected):
                await self._load_model(model, each)
                if not each.done.done():
                    self._append(queue, model, each)
                return await each.done
        finally:
            queue.discard(each)
            model.callers -= 1
            queue.calls -= 1
            self._free += 1
            self._forget(model, queue)
            del each  # An error in it leads here by its trace: a circle, which would keep inputs.

    async def compute_aside(
        self, model: LoadedModel, inputs: ModelInputs, on_loop: float
    ) -> ModelResult:
        """What nobody waits for: on the event loop where that takes `on_loop` seconds at most.

        Else as by `enqueue`.
        """
        result = model.predict_inline(inputs, on_loop)
        return await self.enqueue(model, inputs, math.inf) if result is None else result

    def _queue_of(self, model: LoadedModel) -> BatchQueue:
        queue = self._queues.get(id(model)) or BatchQueue()
        if queue.calls >= self._free:
            raise OverloadedError(
                f"{queue.calls} calls wait for this model, and {self._free} of {self._queue} places"
                " are left; come again, add workers or replicas, or raise"
                " LOOPWRIGHT_SCORER_QUEUE_LIMIT"
            )
        self._queues[id(model)] = queue
        return queue

    @contextmanager
    def _abandoning(self, each: PendingCall, disconnected: Disconnection | None) -> Iterator[None]:
        """Meanwhile the call is given up at its deadline and when its caller has gone."""
        ends: list[asyncio.TimerHandle | asyncio.Task[None]] = []
        if each.deadline < math.inf:
            left = each.deadline - time.monotonic()
            ends.append(
                asyncio.get_running_loop().call_later(left, each.abandon, deadline_exceeded())
            )
        if disconnected is not None:
            ends.append(asyncio.create_task(self._abandon(each, disconnected)))
        try:
            yield
        finally:
            for end in ends:
                end.cancel()

    async def _abandon(self, each: PendingCall, disconnected: Disconnection) -> None:
        await disconnected()
        if each.abandon(ClientDisconnectedError()):
            self._abandoned.inc()

    async def _load_model(self, model: LoadedModel, each: PendingCall) -> None:
        if model.is_in_memory or self._load is None:
            return
        loading = asyncio.ensure_future(self._load(model))
        either: Sequence[asyncio.Future[Any]] = (loading, each.done)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                await loading
        finally:
            loading.cancel()

    def _append(self, queue: BatchQueue, model: LoadedModel, each: PendingCall) -> None:
        queue.append(each)
        if not queue.is_drained:
            queue.is_drained = True
            task = asyncio.create_task(self._serve(model, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, model: LoadedModel, queue: BatchQueue) -> None:
        """Until nobody waits; it holds the model, also for callers that have gone."""
        model.callers += 1
        while batch := queue.next_batch(model):
            began = time.perf_counter_ns()
            results = await self._in_thread(model, [each.inputs for each in batch])
            for each, result in zip(batch, results, strict=True):
                each.settle(result, began)
        model.callers -= 1
        queue.is_drained = False
        self._forget(model, queue)

    def _forget(self, model: LoadedModel, queue: BatchQueue) -> None:
        if not queue.calls and not queue.is_drained:
            self._queues.pop(id(model), None)

    async def _in_thread(
        self, model: LoadedModel, parts: Sequence[ModelInputs]
    ) -> Sequence[ModelResult | BaseException]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, _compute, model, parts)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            return [error] * len(parts)


def _compute(model: LoadedModel, parts: Sequence[ModelInputs]) -> list[ModelResult | BaseException]:
    with model.computing(sum(part.rows for part in parts)):
        return _compute_batch(model, parts)


def _compute_batch(
    model: LoadedModel, parts: Sequence[ModelInputs]
) -> list[ModelResult | BaseException]:
    """Results in order; a batch that fails is computed call by call, so that each fails alone."""
    if len(parts) > 1:
        try:
            together = model.predict(concatenate_inputs(parts))
        except (LoopwrightError, ShapeMismatchError):
            together = None
        if together is not None and together.outputs is not None:
            return _split(parts, together)
    return [_predict_one(model, part) for part in parts]


def _split(
    parts: Sequence[ModelInputs], together: ModelResult
) -> list[ModelResult | BaseException]:
    assert together.outputs is not None  # noqa: S101  (asked before)
    scored: list[ModelResult | BaseException] = []
    start = 0
    for part in parts:
        scored.append(ModelResult(part, together.outputs.rows(start, start + part.rows)))
        start += part.rows
    return scored


def _predict_one(model: LoadedModel, part: ModelInputs) -> ModelResult | BaseException:
    try:
        return model.predict(part)
    except LoopwrightError as error:
        return error

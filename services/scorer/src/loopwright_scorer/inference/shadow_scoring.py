"""Shadow arms: they compute what live arms have answered, after the answer, and never delay one."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry, Counter

from loopwright_common.errors import LoopwrightError, OverloadedError
from loopwright_scorer.inference.background_tasks import BackgroundTasks
from loopwright_scorer.inference.call_recorder import CallRecorder, CallTiming, CompletedCall
from loopwright_scorer.inference.executor import LOOP_BYTES, InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.routing.record_policy import redacted_error
from loopwright_scorer.routing.routes import Route, ServedArm
from loopwright_scorer.tensors.tensors import InferenceRequest

log = structlog.get_logger()
_LOOP_SECONDS = 0.0005
"""Longer calls are computed in a thread: live ones do not wait for them."""


@dataclass(frozen=True, slots=True)
class ShadowCall:
    """A call that a live arm has answered; `unique` is the id that both arms' rows share.

    `size` is the request's, in bytes.
    """

    route: Route
    request: InferenceRequest
    unique: str
    request_id: str | None
    size: int


@dataclass(slots=True)
class _ShadowQueue:
    """The calls that wait for one model's shadow arms."""

    waiting: deque[ShadowCall] = field(default_factory=deque)
    size: int = 0


class ShadowScoring:
    """Calls wait in a buffer of bounded size; what finds no room is dropped and counted.

    One model's calls take no more than is left, so that others find some when a shadow arm hangs.
    """

    def __init__(
        self,
        executor: InferenceExecutor,
        recorder: CallRecorder,
        ids: PredictionIds,
        registry: CollectorRegistry,
        *,
        buffer: int,
    ) -> None:
        """`buffer`: bytes of requests that may wait."""
        self._executor = executor
        self._recorder = recorder
        self._ids = ids
        self._free = buffer
        self._queues: dict[str, _ShadowQueue] = {}
        self._serving = BackgroundTasks()
        self._dropped = Counter(
            "loopwright_shadow_dropped",
            "Calls that shadow arms did not see because they were busy.",
            ["model"],
            registry=registry,
        )

    def enqueue(self, answered: ShadowCall) -> None:
        """Have every shadow arm of the call's route compute it later, or drop and count it."""
        model_id = answered.route.model_id
        queue = self._queues.get(model_id) or _ShadowQueue()
        if queue.size + answered.size > self._free:
            self._drop(answered)
            return
        if model_id not in self._queues:
            self._queues[model_id] = queue
            self._serving.start(self._serve(model_id, queue))
        self._free -= answered.size
        queue.size += answered.size
        queue.waiting.append(answered)

    async def run(self) -> None:
        """Until cancelled, and all that waits with it."""
        await self._serving.run()

    async def _serve(self, model_id: str, queue: _ShadowQueue) -> None:
        """Until nothing waits. What is computed keeps its room."""
        while queue.waiting:
            await asyncio.sleep(0)  # live calls go first
            answered = queue.waiting.popleft()
            for arm in answered.route.shadows:
                await self._shadow(arm, answered)
            self._free += answered.size
            queue.size -= answered.size
        del self._queues[model_id]

    def _drop(self, answered: ShadowCall) -> None:
        self._dropped.labels(answered.route.model).inc()

    async def _shadow(self, arm: ServedArm, answered: ShadowCall) -> None:
        try:
            await self._score(arm, answered)
        except OverloadedError:
            self._drop(answered)
        except LoopwrightError as error:
            why = redacted_error(answered.route.record, str(error))
            log.warning("shadow.refused", version=arm.version, error=why)
        except Exception:
            log.exception("shadow.failed", version=arm.version)

    async def _score(self, arm: ServedArm, answered: ShadowCall) -> None:
        started = time.perf_counter_ns()
        if answered.size > LOOP_BYTES:
            inputs = await asyncio.to_thread(arm.model.signature.read, answered.request)
        else:
            inputs = arm.model.signature.read(answered.request)
        read = time.perf_counter_ns()
        result = await self._executor.compute_aside(arm.model, inputs, _LOOP_SECONDS)
        computed = time.perf_counter_ns()
        self._recorder.record(
            CompletedCall(
                route=answered.route,
                arm=arm,
                slot="shadow",
                result=result,
                timing=CallTiming(started, read, computed, computed),
                prediction_id=self._ids.issue(
                    answered.unique, arm.version, answered.route.model_id
                ),
                request_id=answered.request_id,
                size=answered.size,
            )
        )

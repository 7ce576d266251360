"""Answering a call: read, choose the arm, compute, write, and account for it.

Protocols sit in front of this and fix only the shape of requests and answers.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

from loopwright_common.errors import InvalidError
from loopwright_common.ids import new_id
from loopwright_scorer.errors import ModelFailedError
from loopwright_scorer.inference.batch_queue import deadline_exceeded
from loopwright_scorer.inference.call_recorder import CallRecorder, CompletedCall
from loopwright_scorer.inference.call_stats import CallTiming, Slot
from loopwright_scorer.inference.codec import (
    InferenceCall,
    InferenceCodec,
    InferenceResponse,
    InferenceResult,
    R,
)
from loopwright_scorer.inference.executor import LOOP_BYTES, Disconnection, InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.inference.shadow_scoring import ShadowCall, ShadowScoring
from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.routing.routes import Route, Routes, ServedArm
from loopwright_scorer.tensors.tensors import InferenceRequest

T = TypeVar("T")


class InferenceService:
    """The replica's answers."""

    def __init__(
        self,
        routes: Routes,
        ids: PredictionIds,
        compute: InferenceExecutor,
        accounts: CallRecorder,
        shadows: ShadowScoring | None = None,
    ) -> None:
        self.routes = routes
        self._ids = ids
        self._compute = compute
        self._accounts = accounts
        self._shadows = shadows

    async def infer(
        self, call: InferenceCall, exchange: InferenceCodec[R], gone: Disconnection | None = None
    ) -> InferenceResponse[R]:
        """InvalidError, NotFoundError and UnsupportedError are the caller's fault; OverloadedError,
        DeadlineError and ModelFailedError are not.

        Once `gone` returns, a call that waits for its version is given up as GoneError.
        """
        run = _Run(self.routes.route(call.model), call)
        do = _here if call.size <= LOOP_BYTES else asyncio.to_thread
        try:
            await do(run.read, exchange)
            model, inputs = run.arm.model, run.inputs
            scored = self._compute.at_once(model, inputs)
            run.take(scored or await self._compute.later(model, inputs, run.deadline, gone))
            content = await do(run.write, exchange)
        except InvalidError:
            self._accounts.refused(run.route)
            raise
        return self._close(run, content)

    def infer_inline(
        self, call: InferenceCall, exchange: InferenceCodec[R]
    ) -> InferenceResponse[R] | None:
        """As `infer`, where nothing has to be waited for; None where something has."""
        run = _Run(self.routes.route(call.model), call)
        try:
            run.read(exchange)
            scored = self._compute.at_once(run.arm.model, run.inputs)
            if scored is None:
                return None
            run.take(scored)
            content = run.write(exchange)
        except InvalidError:
            self._accounts.refused(run.route)
            raise
        return self._close(run, content)

    def _close(self, run: "_Run", content: R | None) -> InferenceResponse[R]:
        """Account for the call and show it to shadow arms."""
        route, arm, call = run.route, run.arm, run.call
        spent = CallTiming(run.started, run.has_read, run.computed, time.perf_counter_ns())
        prediction_id = self._ids.seal(run.unique, arm.version, route.model_id)
        slot: Slot = "live" if call.is_routed else "named"
        if slot == "named":
            arm.model.used_at = time.monotonic()
        request_id = call.request_id or run.request.id
        self._accounts.enter(
            CompletedCall(route, arm, slot, run.scored, spent, prediction_id, request_id, call.size)
        )
        if route.shadows and slot == "live" and self._shadows is not None:
            self._shadows.offer(ShadowCall(route, run.request, run.unique, request_id, call.size))
        if content is None:
            raise ModelFailedError(
                f"version {arm.version} of {call.model} failed: {run.scored.error}"
            )
        return InferenceResponse(content, prediction_id, arm.version)


class _Run:
    """A call on its way. Its steps touch nothing shared, so they may run in a thread."""

    def __init__(self, route: Route, call: InferenceCall) -> None:
        self.started = time.perf_counter_ns()
        self.unique = new_id()
        self.route = route
        self.call = call
        self.request: InferenceRequest
        self.arm: ServedArm
        self.scored: ModelResult

    def read(self, exchange: InferenceCodec[object]) -> None:
        self.request = request = exchange.read()
        self.arm = _arm(self.route, self.call, request, self.unique)
        self.inputs = self.arm.model.plan.read(request)
        self.has_read = time.perf_counter_ns()
        if request.timeout is not None and time.monotonic() > self.deadline:
            raise deadline_exceeded()

    @property
    def deadline(self) -> float:
        """On the monotonic clock."""
        timeout = self.request.timeout
        return math.inf if timeout is None else self.started / 1e9 + timeout

    def take(self, scored: ModelResult) -> None:
        self.scored = scored
        self.computed = time.perf_counter_ns()

    def write(self, exchange: InferenceCodec[R]) -> R | None:
        """None where the version failed."""
        outputs = self.scored.outputs
        if outputs is None:
            return None
        return exchange.write(
            InferenceResult(self.route, self.arm, self.request, self.scored.inputs, outputs)
        )


async def _here(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _arm(route: Route, call: InferenceCall, request: InferenceRequest, unique: str) -> ServedArm:
    if call.version is not None:
        return route.arm_of(call.version)
    if call.alias is not None:
        return route.named(call.alias)
    key = call.routing_key
    if key is None and route.routing_key and (given := request.inputs.get(route.routing_key)):
        key = str(given.data[0])
    return route.arm_for(key or call.request_id or request.id or unique)

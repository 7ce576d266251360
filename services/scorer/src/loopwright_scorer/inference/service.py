"""Answering a call: read, choose the arm, compute, write, and record it.

Protocols sit in front of this and fix only the shape of requests and answers.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from uuid_utils import uuid7

from loopwright_common.errors import InvalidError
from loopwright_scorer.errors import ModelFailedError
from loopwright_scorer.inference.batch_queue import deadline_exceeded
from loopwright_scorer.inference.call_recorder import (
    CallRecorder,
    CallTiming,
    CompletedCall,
    Slot,
)
from loopwright_scorer.inference.codec import (
    InferenceCall,
    InferenceCodec,
    InferenceResponse,
    InferenceResult,
    R,
)
from loopwright_scorer.inference.executor import LOOP_BYTES, Disconnection, InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.inference.second_opinions import SecondOpinions, UnansweredCall
from loopwright_scorer.inference.shadow_scoring import ShadowCall, ShadowScoring
from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.routing.routes import Route, Routes, ServedArm
from loopwright_scorer.tensors.tensors import InferenceRequest, ModelOutputs

T = TypeVar("T")
Charge = Callable[[int], None]
"""Holds so many bytes of the memory that all requests have; raises where there is no room."""
_LONGEST_CHARACTER = 4
"""Bytes in UTF-8."""
_ROWS_LIMIT = 1 << 20
_WRITTEN_BYTES = 24


class InferenceService:
    """The replica's answers."""

    def __init__(
        self,
        routes: Routes,
        ids: PredictionIds,
        executor: InferenceExecutor,
        recorder: CallRecorder,
        shadows: ShadowScoring | None = None,
        opinions: SecondOpinions | None = None,
    ) -> None:
        self.routes = routes
        self._ids = ids
        self._executor = executor
        self._recorder = recorder
        self._shadows = shadows
        self._opinions = opinions

    async def infer(
        self,
        call: InferenceCall,
        codec: InferenceCodec[R],
        disconnected: Disconnection | None = None,
        charge: Charge | None = None,
    ) -> InferenceResponse[R]:
        """InvalidError, NotFoundError, UnsupportedError and TooLargeError are the caller's fault;
        OverloadedError, DeadlineExceededError and ModelFailedError are not.

        Once `disconnected` returns, a call that waits for its version is given up as
        ClientDisconnectedError.
        What the call makes of its body is told to `charge` before it is made.
        """
        run = _CallRun(self.routes.route(call.model), call)
        do = _inline if call.size <= LOOP_BYTES else asyncio.to_thread
        try:
            await do(run.read, codec, charge)
            model, inputs = run.arm.model, run.inputs
            result = model.predict_inline(inputs)
            if result is None:
                result = await self._executor.enqueue(model, inputs, run.deadline, disconnected)
            run.finish(result)
            if charge is not None and result.outputs is not None:
                charge(_written_size(result.outputs))
            content = await do(run.write, codec)
        except InvalidError:
            self._refused(run, codec)
            raise
        return self._close(run, codec, content)

    def infer_inline(
        self, call: InferenceCall, codec: InferenceCodec[R]
    ) -> InferenceResponse[R] | None:
        """As `infer`, where nothing has to be waited for; None where something has."""
        run = _CallRun(self.routes.route(call.model), call)
        try:
            run.read(codec)
            result = run.arm.model.predict_inline(run.inputs)
            if result is None:
                return None
            run.finish(result)
            content = run.write(codec)
        except InvalidError:
            self._refused(run, codec)
            raise
        return self._close(run, codec, content)

    def _refused(self, run: "_CallRun", codec: InferenceCodec[R]) -> None:
        self._recorder.record_refused(run.route)
        if (unanswered := self._unanswered(run, codec)) and self._opinions:
            recorder, arm = self._recorder, run.arm
            self._opinions.ask(
                unanswered, lambda alone: recorder.record_refused_alone(arm) if alone else None
            )

    def _unanswered(self, run: "_CallRun", codec: InferenceCodec[R]) -> UnansweredCall | None:
        """What the other live arm can be asked of a call that has no answer, if there is one."""
        if self._opinions is None or run.is_named or not run.has_arm:
            return None
        if len(run.route.shares) < 2:
            return None
        return UnansweredCall(run.route, run.arm, run.request, codec, run.call.size)

    def _close(
        self, run: "_CallRun", codec: InferenceCodec[R], content: R | None
    ) -> InferenceResponse[R]:
        """Record the call and show it to shadow arms."""
        route, arm, call = run.route, run.arm, run.call
        timing = CallTiming(run.started, run.has_read, run.computed, time.perf_counter_ns())
        prediction_id = self._ids.issue(run.unique, arm.version, route.model_id)
        slot: Slot = "named" if run.is_named else "live"
        if run.is_named:
            arm.model.used_at = time.monotonic()
        request_id = call.request_id or run.request.id
        completed = CompletedCall(
            route, arm, slot, run.result, timing, prediction_id, request_id, call.size, run.caller
        )
        failed = content is None and not run.result.harmed
        unanswered = self._unanswered(run, codec) if failed else None
        self._recorder.record(completed, is_judged=unanswered is None)
        if unanswered and self._opinions:
            recorder = self._recorder
            self._opinions.ask(
                unanswered, lambda alone: recorder.record_failure(completed, alone=alone)
            )
        if route.shadows and not run.is_named and self._shadows is not None:
            self._shadows.enqueue(ShadowCall(route, run.request, run.unique, request_id, call.size))
        if content is None:
            raise ModelFailedError(
                f"version {arm.version} of {call.model} failed: {run.result.error}"
            )
        return InferenceResponse(content, prediction_id, arm.version)


class _CallRun:
    """A call on its way. Its steps touch nothing shared, so they may run in a thread."""

    def __init__(self, route: Route, call: InferenceCall) -> None:
        self.started = time.perf_counter_ns()
        self.unique = str(uuid7())
        """What the ids of all arms' answers to this call have in common."""
        self.route = route
        self.call = call
        self.is_named = call.version is not None or call.alias is not None
        self.has_arm = False
        self.request: InferenceRequest
        self.arm: ServedArm
        self.caller: str | None
        self.result: ModelResult

    def read(self, codec: InferenceCodec[object], charge: Charge | None = None) -> None:
        self.request = request = codec.read()
        self.arm, self.caller = _select_arm(self.route, self.call, request, self.unique)
        self.has_arm = True
        if charge is not None:
            charge(_computed_size(request, self.arm.model.signature.value_bytes))
        self.inputs = self.arm.model.signature.read(request)
        self.has_read = time.perf_counter_ns()
        if request.timeout is not None and time.monotonic() > self.deadline:
            raise deadline_exceeded()

    @property
    def deadline(self) -> float:
        """On the monotonic clock."""
        timeout = self.request.timeout
        return math.inf if timeout is None else self.started / 1e9 + timeout

    def finish(self, result: ModelResult) -> None:
        self.result = result
        self.computed = time.perf_counter_ns()

    def write(self, codec: InferenceCodec[R]) -> R | None:
        """None where the version failed."""
        outputs = self.result.outputs
        if outputs is None:
            return None
        return codec.write(
            InferenceResult(self.route, self.arm, self.request, self.result.inputs, outputs)
        )


def _computed_size(request: InferenceRequest, value_bytes: int) -> int:
    """Bytes that a request's values take as what runtimes compute on."""
    shapes = [tensor.shape for tensor in request.inputs.values()]
    if shapes and shapes[0][0] > _ROWS_LIMIT:
        raise InvalidError(
            f"{shapes[0][0]:,} rows in one request, at most {_ROWS_LIMIT:,} are answered; send"
            " several"
        )
    texts = sum(_text_bytes(tensor.data) for tensor in request.inputs.values())
    return value_bytes * sum(map(math.prod, shapes)) + texts


def _text_bytes(data: list[Any] | np.ndarray) -> int:
    """Bytes of the texts of an array, in which one text may be that of many rows: a runtime makes
    a copy for each. In a list each is its own, and its bytes were those of the body.
    """
    if not isinstance(data, np.ndarray) or data.dtype != object:
        return 0
    texts = (value for value in data if isinstance(value, str))
    return sum(len(text) * (1 if text.isascii() else _LONGEST_CHARACTER) for text in texts)


def _written_size(outputs: ModelOutputs) -> int:
    """Bytes that an answer takes at most in any protocol, if its labels are short."""
    return _WRITTEN_BYTES * sum(each.array.size for each in outputs.tensors())


async def _inline(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _select_arm(
    route: Route, call: InferenceCall, request: InferenceRequest, unique: str
) -> tuple[ServedArm, str | None]:
    """The version or alias that the caller named; else the route's choice for its routing key.

    With the key, where it binds the caller to one of several arms.
    """
    if call.version is not None:
        return route.arm_of(call.version), None
    if call.alias is not None:
        return route.named(call.alias), None
    key = call.routing_key
    if key is None and route.routing_key and (given := request.inputs.get(route.routing_key)):
        key = str(given.data[0])
    arm = route.arm_for(key or call.request_id or request.id or unique)
    return arm, (key or None) if len(route.shares) > 1 else None

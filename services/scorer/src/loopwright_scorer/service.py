"""Answering a call: parse, choose the arm, compute, count, record, and shadow afterwards.

Protocols sit in front of this and fix only the shape of requests and answers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from loopwright_common import clock
from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.ids import new_id
from loopwright_scorer.measure import Measurements
from loopwright_scorer.models import Scored
from loopwright_scorer.predictions import PredictionIds
from loopwright_scorer.protocols import v2
from loopwright_scorer.recorder import Recorder
from loopwright_scorer.records import CallRecord
from loopwright_scorer.requests import Request
from loopwright_scorer.routes import Route, Routes, ServedArm
from loopwright_scorer.tensors import NamedTensor

log = structlog.get_logger()
_RECORD_OVERHEAD = 500


class ModelFailedError(Exception):
    """The model raised, or answered with what is no number."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a protocol was asked: `version` only when the caller named it."""

    model: str
    body: bytes
    version: int | None = None
    routing_key: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    prediction_id: str
    version: int


@dataclass(frozen=True, slots=True)
class _Computed:
    request: Request
    arm: ServedArm
    scored: Scored
    body: bytes


@dataclass(frozen=True, slots=True)
class _Shadowed:
    """An answered call that waits for its shadow arms."""

    route: Route
    request: Request
    unique: str
    size: int


class Scoring:
    """The replica's answers; without recorder and measurements (staging) nothing is kept."""

    def __init__(
        self,
        routes: Routes,
        ids: PredictionIds,
        recorder: Recorder | None = None,
        measurements: Measurements | None = None,
        *,
        shadow_buffer: int = 0,
    ) -> None:
        """`shadow_buffer`: bytes of requests that may wait for shadow arms."""
        self.routes = routes
        self._ids = ids
        self._recorder = recorder
        self._measurements = measurements
        self._shadow_room = shadow_buffer
        self._shadowed: deque[_Shadowed] = deque()
        self._shadow_waits = asyncio.Event()

    async def infer(self, call: Call) -> Answer:
        """Raises InvalidError, NotFoundError, UnsupportedError, or ModelFailedError."""
        started = time.perf_counter()
        route = self.routes.route(call.model)
        unique = new_id()
        likely = route.champion() if call.version is None else route.arm_of(call.version)
        if len(call.body) <= likely.model.inline_bytes:
            computed = self._compute(route, call, unique)
        else:
            computed = await asyncio.to_thread(self._compute, route, call, unique)
        seconds = time.perf_counter() - started
        if call.version is None:
            self._account(route, call, computed, unique, seconds)
        if computed.scored.error is not None:
            raise ModelFailedError(
                f"version {computed.arm.version} of {call.model} failed: {computed.scored.error}"
            )
        prediction_id = self._ids.seal(unique, computed.arm.version, route.model_id)
        return Answer(computed.body, prediction_id, computed.arm.version)

    async def run_shadows(self) -> None:
        """Answer for shadow arms what live arms have answered, until cancelled."""
        while True:
            await self._shadow_waits.wait()
            self._shadow_waits.clear()
            while self._shadowed:
                waiting = self._shadowed.popleft()
                self._shadow_room += waiting.size
                for arm in waiting.route.shadows:
                    await self._shadow(arm, waiting)

    def _compute(self, route: Route, call: Call, unique: str) -> _Computed:
        """The CPU part; touches nothing shared, so it may run in a thread."""
        request = v2.parse(call.body)
        arm = self._arm(route, call, request, unique)
        scored = arm.model.score(request)
        if scored.outputs is None:
            return _Computed(request, arm, scored, b"")
        head: dict[str, object] = {"model_name": route.model, "model_version": str(arm.version)}
        if request.id is not None:
            head["id"] = request.id
        if scored.inputs.ignored:
            head["parameters"] = {"ignored_inputs": ", ".join(scored.inputs.ignored)}
        tensors = _wanted(scored.outputs.tensors(), request.outputs)
        return _Computed(request, arm, scored, v2.write(head, tensors))

    def _arm(self, route: Route, call: Call, request: Request, unique: str) -> ServedArm:
        if call.version is not None:
            return route.arm_of(call.version)
        key = call.routing_key
        if key is None and (named := request.inputs.get(route.routing_key or "")):
            key = str(named.data[0])
        return route.arm_for(key or call.request_id or request.id or unique)

    def _account(
        self, route: Route, call: Call, computed: _Computed, unique: str, seconds: float
    ) -> None:
        self._count(route, computed.arm, computed.scored, seconds, "live")
        request_id = call.request_id or computed.request.id
        size = len(call.body)
        self._record(route, computed.arm, computed.scored, unique, request_id, "live", size)
        if route.shadows and size <= self._shadow_room:
            self._shadow_room -= size
            self._shadowed.append(_Shadowed(route, computed.request, unique, size))
            self._shadow_waits.set()

    async def _shadow(self, arm: ServedArm, waiting: _Shadowed) -> None:
        started = time.perf_counter()
        try:
            scored = await asyncio.to_thread(arm.model.score, waiting.request)
        except LoopwrightError as error:
            log.warning("shadow.refused", version=arm.version, error=str(error))
            return
        seconds = time.perf_counter() - started
        self._count(waiting.route, arm, scored, seconds, "shadow")
        self._record(
            waiting.route, arm, scored, waiting.unique, waiting.request.id, "shadow", waiting.size
        )

    def _count(
        self,
        route: Route,
        arm: ServedArm,
        scored: Scored,
        seconds: float,
        role: Literal["live", "shadow"],
    ) -> None:
        if self._measurements is None:
            return
        if scored.outputs is not None:
            arm.circuit.succeeded()
            is_classifier = scored.outputs.prediction is None
            score = scored.outputs.score() if is_classifier else None
            arm.counters.answered(seconds, scored.inputs.rows, score)
        else:
            arm.counters.failed(seconds)
            if role == "live" and route.canary(arm):
                self._trip(arm, scored.error or "")
        self._measurements.note(arm.counters, urgent=scored.outputs is None)

    def _trip(self, arm: ServedArm, error: str) -> None:
        if arm.circuit.failed(arm.version, error):
            arm.counters.tripped = arm.circuit.opened
            log.error("arm.tripped", version=arm.version, why=arm.circuit.opened)
            self.routes.changed.set()

    def _record(
        self,
        route: Route,
        arm: ServedArm,
        scored: Scored,
        unique: str,
        request_id: str | None,
        role: Literal["live", "shadow"],
        size: int,
    ) -> None:
        if self._recorder is None:
            return
        self._recorder.append(
            CallRecord(
                model_id=route.model_id,
                model=route.model,
                prediction_id=self._ids.seal(unique, arm.version, route.model_id),
                request_id=request_id,
                time=clock.now(),
                version=arm.version,
                arm=role,
                inputs=arm.model.plan.inputs,
                outputs=arm.model.runtime.outputs,
                scored=scored,
                size=size + _RECORD_OVERHEAD,
            )
        )


def _wanted(tensors: Sequence[NamedTensor], names: frozenset[str] | None) -> Sequence[NamedTensor]:
    if names is None:
        return tensors
    if unknown := names - {name for name, _ in tensors}:
        there = ", ".join(name for name, _ in tensors)
        raise InvalidError(f"outputs: the model has no {min(unknown)!r}, only {there}")
    return [tensor for tensor in tensors if tensor[0] in names]

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
from loopwright_scorer.inference.batch_queue import late
from loopwright_scorer.inference.call_recorder import Accounts, Done
from loopwright_scorer.inference.call_stats import Slot, Spent
from loopwright_scorer.inference.codec import Answer, Answered, Call, Exchange, R
from loopwright_scorer.inference.executor import LOOP_BYTES, Compute, Gone
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.inference.shadow_scoring import Shadowed, Shadows
from loopwright_scorer.models.loaded_model import Scored
from loopwright_scorer.routing.routes import Route, Routes, ServedArm
from loopwright_scorer.tensors.tensors import Request

T = TypeVar("T")


class Scoring:
    """The replica's answers."""

    def __init__(
        self,
        routes: Routes,
        ids: PredictionIds,
        compute: Compute,
        accounts: Accounts,
        shadows: Shadows | None = None,
    ) -> None:
        self.routes = routes
        self._ids = ids
        self._compute = compute
        self._accounts = accounts
        self._shadows = shadows

    async def infer(self, call: Call, exchange: Exchange[R], gone: Gone | None = None) -> Answer[R]:
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

    def infer_at_once(self, call: Call, exchange: Exchange[R]) -> Answer[R] | None:
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

    def _close(self, run: "_Run", content: R | None) -> Answer[R]:
        """Account for the call and show it to shadow arms."""
        route, arm, call = run.route, run.arm, run.call
        spent = Spent(run.started, run.has_read, run.computed, time.perf_counter_ns())
        prediction_id = self._ids.seal(run.unique, arm.version, route.model_id)
        slot: Slot = "live" if call.is_routed else "named"
        if slot == "named":
            arm.model.used_at = time.monotonic()
        request_id = call.request_id or run.request.id
        self._accounts.enter(
            Done(route, arm, slot, run.scored, spent, prediction_id, request_id, call.size)
        )
        if route.shadows and slot == "live" and self._shadows is not None:
            self._shadows.offer(Shadowed(route, run.request, run.unique, request_id, call.size))
        if content is None:
            raise ModelFailedError(
                f"version {arm.version} of {call.model} failed: {run.scored.error}"
            )
        return Answer(content, prediction_id, arm.version)


class _Run:
    """A call on its way. Its steps touch nothing shared, so they may run in a thread."""

    def __init__(self, route: Route, call: Call) -> None:
        self.started = time.perf_counter_ns()
        self.unique = new_id()
        self.route = route
        self.call = call
        self.request: Request
        self.arm: ServedArm
        self.scored: Scored

    def read(self, exchange: Exchange[object]) -> None:
        self.request = request = exchange.read()
        self.arm = _arm(self.route, self.call, request, self.unique)
        self.inputs = self.arm.model.plan.read(request)
        self.has_read = time.perf_counter_ns()
        if request.timeout is not None and time.monotonic() > self.deadline:
            raise late()

    @property
    def deadline(self) -> float:
        """On the monotonic clock."""
        timeout = self.request.timeout
        return math.inf if timeout is None else self.started / 1e9 + timeout

    def take(self, scored: Scored) -> None:
        self.scored = scored
        self.computed = time.perf_counter_ns()

    def write(self, exchange: Exchange[R]) -> R | None:
        """None where the version failed."""
        outputs = self.scored.outputs
        if outputs is None:
            return None
        return exchange.write(
            Answered(self.route, self.arm, self.request, self.scored.inputs, outputs)
        )


async def _here(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _arm(route: Route, call: Call, request: Request, unique: str) -> ServedArm:
    if call.version is not None:
        return route.arm_of(call.version)
    if call.alias is not None:
        return route.named(call.alias)
    key = call.routing_key
    if key is None and route.routing_key and (given := request.inputs.get(route.routing_key)):
        key = str(given.data[0])
    return route.arm_for(key or call.request_id or request.id or unique)

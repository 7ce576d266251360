"""Answering a call: read, choose the arm, compute, write, and account for it.

Protocols sit in front of this and fix only the shape of requests and answers.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from loopwright_common.errors import InvalidError
from loopwright_common.ids import new_id
from loopwright_scorer.accounts import Accounts, Done
from loopwright_scorer.compute import Compute
from loopwright_scorer.errors import ModelFailedError
from loopwright_scorer.exchange import Answer, Answered, Call, Exchange, R
from loopwright_scorer.inputs import Inputs
from loopwright_scorer.models import Scored
from loopwright_scorer.predictions import PredictionIds
from loopwright_scorer.routes import Route, Routes, ServedArm
from loopwright_scorer.shadows import Shadowed, Shadows
from loopwright_scorer.tensors import Request
from loopwright_scorer.totals import Slot, Spent

T = TypeVar("T")
_LOOP_BYTES = 256 << 10
"""Bodies up to this size are read, and answers to them written, on the event loop."""


class _Asked(NamedTuple):
    """A request that has been read, and the arm that answers it."""

    request: Request
    arm: ServedArm
    inputs: Inputs


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

    async def infer(self, call: Call, exchange: Exchange[R]) -> Answer[R]:
        """InvalidError, NotFoundError and UnsupportedError are the caller's fault; OverloadedError,
        DeadlineError and ModelFailedError are not.
        """
        route = self.routes.route(call.model)
        try:
            return await self._infer(route, call, exchange)
        except InvalidError:
            self._accounts.refused(route)
            raise

    async def _infer(self, route: Route, call: Call, exchange: Exchange[R]) -> Answer[R]:
        started, unique = time.perf_counter_ns(), new_id()
        run = _here if call.size <= _LOOP_BYTES else asyncio.to_thread
        asked = await run(_read, route, call, exchange, unique)
        read = time.perf_counter_ns()
        scored = await self._score(asked)
        computed = time.perf_counter_ns()
        content = await run(_written, route, asked, scored, exchange)
        spent = Spent(started, read, computed, time.perf_counter_ns())
        prediction_id = self._enter(route, call, asked, scored, spent, unique)
        if content is None:
            raise ModelFailedError(
                f"version {asked.arm.version} of {call.model} failed: {scored.error}"
            )
        return Answer(content, prediction_id, asked.arm.version)

    async def _score(self, asked: _Asked) -> Scored:
        loaded = asked.arm.model
        if scored := self._compute.at_once(loaded, asked.inputs):
            return scored
        timeout = asked.request.timeout
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        return await self._compute.later(loaded, asked.inputs, deadline)

    def _enter(
        self, route: Route, call: Call, asked: _Asked, scored: Scored, spent: Spent, unique: str
    ) -> str:
        """Account for the call and show it to shadow arms; returns its prediction id."""
        prediction_id = self._ids.seal(unique, asked.arm.version, route.model_id)
        slot: Slot = "live" if call.is_routed else "named"
        request_id = call.request_id or asked.request.id
        self._accounts.enter(
            Done(route, asked.arm, slot, scored, spent, prediction_id, request_id, call.size)
        )
        if route.shadows and slot == "live" and self._shadows is not None:
            self._shadows.offer(Shadowed(route, asked.request, unique, request_id, call.size))
        return prediction_id


async def _here(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _read(route: Route, call: Call, exchange: Exchange[object], unique: str) -> _Asked:
    """Touches nothing shared, so it may run in a thread."""
    request = exchange.read()
    arm = _arm(route, call, request, unique)
    return _Asked(request, arm, arm.model.plan.read(request))


def _arm(route: Route, call: Call, request: Request, unique: str) -> ServedArm:
    if call.version is not None:
        return route.arm_of(call.version)
    if call.alias is not None:
        return route.named(call.alias)
    key = call.routing_key
    if key is None and (given := request.inputs.get(route.routing_key or "")):
        key = str(given.data[0])
    return route.arm_for(key or call.request_id or request.id or unique)


def _written(route: Route, asked: _Asked, scored: Scored, exchange: Exchange[R]) -> R | None:
    """None where the version failed."""
    if scored.outputs is None:
        return None
    return exchange.write(Answered(route, asked.arm, asked.request, scored.inputs, scored.outputs))

"""Shadow arms: they compute what live arms have answered, after the answer, and never delay one."""

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter

from loopwright_common.errors import LoopwrightError
from loopwright_scorer.accounts import Accounts, Done
from loopwright_scorer.compute import Compute
from loopwright_scorer.keeping import told_error
from loopwright_scorer.predictions import PredictionIds
from loopwright_scorer.routes import Route, ServedArm
from loopwright_scorer.tensors import Request
from loopwright_scorer.totals import Spent

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A call that a live arm has answered; `unique` is the id that both arms' rows share."""

    route: Route
    request: Request
    unique: str
    request_id: str | None
    size: int


class Shadows:
    """Calls wait in a buffer of bounded size; what finds no room is dropped and counted."""

    def __init__(
        self,
        compute: Compute,
        accounts: Accounts,
        ids: PredictionIds,
        registry: CollectorRegistry,
        *,
        buffer: int,
    ) -> None:
        """`buffer`: bytes of requests that may wait."""
        self._compute = compute
        self._accounts = accounts
        self._ids = ids
        self._room = buffer
        self._waiting: deque[Shadowed] = deque()
        self._come = asyncio.Event()
        self._dropped = Counter(
            "loopwright_shadow_dropped",
            "Calls that shadow arms did not see because they were busy.",
            ["model"],
            registry=registry,
        )

    def offer(self, answered: Shadowed) -> None:
        if answered.size > self._room:
            self._dropped.labels(answered.route.model).inc()
            return
        self._room -= answered.size
        self._waiting.append(answered)
        self._come.set()

    async def run(self) -> None:
        """Compute until cancelled."""
        while True:
            await self._come.wait()
            self._come.clear()
            while self._waiting:
                answered = self._waiting.popleft()
                self._room += answered.size
                for arm in answered.route.shadows:
                    await self._shadow(arm, answered)
                await asyncio.sleep(0)  # live calls go first

    async def _shadow(self, arm: ServedArm, answered: Shadowed) -> None:
        started = time.perf_counter_ns()
        try:
            inputs = arm.model.plan.read(answered.request)
            read = time.perf_counter_ns()
            scored = self._compute.at_once(arm.model, inputs)
            if scored is None:
                scored = await self._compute.later(arm.model, inputs, math.inf)
        except LoopwrightError as error:
            why = told_error(answered.route.record, str(error))
            log.warning("shadow.refused", version=arm.version, error=why)
            return
        computed = time.perf_counter_ns()
        self._accounts.enter(
            Done(
                route=answered.route,
                arm=arm,
                slot="shadow",
                scored=scored,
                spent=Spent(started, read, computed, computed),
                prediction_id=self._ids.seal(answered.unique, arm.version, answered.route.model_id),
                request_id=answered.request_id,
                size=answered.size,
            )
        )

"""The counters that the deployer judges a canary by: cumulative per route revision and version."""

import asyncio
from bisect import bisect_left
from dataclasses import dataclass, field
from operator import add
from typing import Literal

import numpy as np
import structlog

from loopwright_common.bus import EventBus
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.errors import UnavailableError
from loopwright_common.events import ServingMeasured
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing.caller_latencies import CallerLatencies
from loopwright_scorer.routing.traffic_split import hash_position

log = structlog.get_logger()
LATENCY_EDGES = [
    round(step * 10.0**power, 10)
    for power in range(-5, 1)
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
] + [10.0]
"""Upper bounds in seconds, about ten a decade and round, so that a limit on latency is an edge."""
_SCORE_BINS = 10
_EVERY_SECONDS = 1.0
_LEAST_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """The identity of who counts: a scorer process, and this run of it."""

    name: str
    epoch: str
    environment: str


@dataclass(slots=True, eq=False)
class ArmCounters:
    """One arm's counts since its revision began; rows are counted only for answered calls.

    Beside another live arm only what that answers is an error or refused.
    """

    model_id: str
    model: str
    revision: int
    version: int
    role: Literal["live", "shadow"]
    calls: int = 0
    rows: int = 0
    errors: int = 0
    refused: int = 0
    """Requests, which are no calls."""
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_EDGES) + 1))
    """Calls by latency: of those in `LATENCY_EDGES` the first edge that is not below it."""
    scores: list[int] = field(default_factory=lambda: [0] * _SCORE_BINS)
    """Rows by score, in bins of equal width over [0, 1]."""
    tripped: str | None = None
    callers: CallerLatencies | None = None
    """The calls of those who are bound to the arm, once there are any."""

    def count_answer(
        self, seconds: float, rows: int, score: np.ndarray | None, caller: str | None = None
    ) -> None:
        """`score` [rows] only where it lies in [0, 1]; `caller` where a key binds it to the arm."""
        self._count_call(seconds, caller)
        self.rows += rows
        if score is None:
            return
        if rows == 1:
            self.scores[min(int(score[0] * _SCORE_BINS), _SCORE_BINS - 1)] += 1
        else:
            bins = np.clip(score * _SCORE_BINS, 0, _SCORE_BINS - 1).astype(int)
            counts = np.bincount(bins, minlength=_SCORE_BINS).tolist()
            self.scores = list(map(add, self.scores, counts))

    def count_error(self, seconds: float, caller: str | None = None) -> None:
        self._count_call(seconds, caller)
        self.errors += 1

    def count_unanswerable(self, seconds: float, caller: str | None = None) -> None:
        """A call that failed, and that the other arm does not answer either."""
        self._count_call(seconds, caller)

    def count_refused(self) -> None:
        self.refused += 1

    def _count_call(self, seconds: float, caller: str | None) -> None:
        cell = bisect_left(LATENCY_EDGES, seconds)
        self.calls += 1
        self.latency[cell] += 1
        if caller is None:
            return
        if self.callers is None:
            self.callers = CallerLatencies(len(self.latency))
        self.callers.count(hash_position(self.model, caller), cell)


class CounterPublisher:
    """Publishes counters that changed: each second, and at once after a server error."""

    def __init__(self, bus: EventBus, replica: ReplicaIdentity) -> None:
        self._bus = bus
        self._replica = replica
        self._changed: set[ArmCounters] = set()
        self._urgent = asyncio.Event()

    def count_answer(
        self,
        counters: ArmCounters,
        seconds: float,
        rows: int,
        score: np.ndarray | None,
        caller: str | None = None,
    ) -> None:
        """Count an answered call; `score` [rows] only where it lies in [0, 1]."""
        counters.count_answer(seconds, rows, score, caller)
        self._changed.add(counters)

    def count_error(self, counters: ArmCounters, seconds: float, caller: str | None = None) -> None:
        """Count a server error, and publish the counts at once."""
        counters.count_error(seconds, caller)
        self._changed.add(counters)
        self._urgent.set()

    def count_unanswerable(
        self, counters: ArmCounters, seconds: float, caller: str | None = None
    ) -> None:
        """Count a call that failed on both arms."""
        counters.count_unanswerable(seconds, caller)
        self._changed.add(counters)

    def count_refused(self, counters: ArmCounters) -> None:
        """Count a request that the arm refused and the other answers."""
        counters.count_refused()
        self._changed.add(counters)

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            await self.publish()
            await asyncio.sleep(_LEAST_SECONDS)

    async def publish(self) -> None:
        """Counts that cannot leave now are in the next message, since they are cumulative."""
        changed, self._changed = self._changed, set()
        try:
            await self._bus.publish([_record(counters, self._replica) for counters in changed])
        except UnavailableError as error:
            self._changed |= changed
            log.warning("counters.not-published", error=str(error))


def _record(counters: ArmCounters, replica: ReplicaIdentity) -> OutgoingRecord:
    measured = ServingMeasured(
        environment=replica.environment,
        model_id=counters.model_id,
        model=counters.model,
        replica=replica.name,
        epoch=replica.epoch,
        revision=counters.revision,
        version=counters.version,
        role=counters.role,
        calls=counters.calls,
        rows=counters.rows,
        errors=counters.errors,
        refused=counters.refused,
        latency_edges=LATENCY_EDGES,
        latency_counts=list(counters.latency),
        score_counts=list(counters.scores),
        tripped=counters.tripped,
        caller_counts=counters.callers.calls() if counters.callers else [],
        caller_shares=counters.callers.shares() if counters.callers else [],
    )
    return new_event(
        measured,
        key=f"{replica.environment}/{counters.model_id}",
        subject=f"models/{counters.model}/versions/{counters.version}",
    )

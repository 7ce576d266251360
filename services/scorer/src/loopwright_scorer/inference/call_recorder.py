"""What is kept of a call: counts of its version, evidence for a canary, and its record."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import structlog

from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.recording.record_buffer import RecordBuffer
from loopwright_scorer.recording.records import CallRecord
from loopwright_scorer.routing.canary_counters import LATENCY_EDGES, CounterPublisher
from loopwright_scorer.routing.record_policy import redacted_error
from loopwright_scorer.routing.routes import Route, Routes, ServedArm

log = structlog.get_logger()
Slot = Literal["live", "shadow", "named"]
"""`named`: the caller asked for this version, so the route had no say."""
_RECORD_OVERHEAD = 500
"""Bytes of a record beside the request's own."""


@dataclass(slots=True)
class CallTiming:
    """When the steps of one call ended, in nanoseconds of the monotonic clock."""

    started: int
    read: int
    computed: int
    written: int


@dataclass(slots=True)
class CompletedCall:
    """A computed call; `size` is the request's, in bytes."""

    route: Route
    arm: ServedArm
    slot: Slot
    result: ModelResult
    timing: CallTiming
    prediction_id: str
    request_id: str | None
    size: int
    caller: str | None = None
    """The key that binds the caller to the arm, where the route has several."""


@dataclass(slots=True)
class VersionStats:
    """Nanoseconds are sums over `calls`, of which `errors` failed; `rows` were answered."""

    calls: int = 0
    errors: int = 0
    rows: int = 0
    failed_ns: int = 0
    answered_ns: int = 0
    queued_ns: int = 0
    read_ns: int = 0
    computed_ns: int = 0
    written_ns: int = 0
    last: float = 0.0
    """Unix time of the last call."""
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_EDGES) + 1))
    """Calls by latency: of those in `LATENCY_EDGES` the first edge that is not below it."""

    def count(self, result: ModelResult, timing: CallTiming) -> None:
        whole = timing.written - timing.started
        self.calls += 1
        self.last = time.time()
        self.latency[bisect_left(LATENCY_EDGES, whole / 1e9)] += 1
        if result.outputs is None:
            self.errors += 1
            self.failed_ns += whole
            return
        self.rows += result.inputs.rows
        self.answered_ns += whole
        self.queued_ns += result.queued_ns
        self.read_ns += timing.read - timing.started
        self.computed_ns += timing.computed - timing.read - result.queued_ns
        self.written_ns += timing.written - timing.computed


class CallStats:
    """Counts of calls by model, version and slot; those of a version go when no route names it."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._stats: dict[tuple[str, int, Slot], VersionStats] = {}
        self._refused: dict[str, int] = {}

    def of(self, model: str, version: int, slot: Slot) -> VersionStats:
        key = (model, version, slot)
        if (stats := self._stats.get(key)) is None:
            stats = self._stats[key] = VersionStats()
        return stats

    def requested(self, model: str, version: int) -> VersionStats:
        """All that callers asked of a version, whoever chose it."""
        return _sum([self.of(model, version, "live"), self.of(model, version, "named")])

    def count_refused(self, model: str) -> None:
        """Count a request that was the caller's fault."""
        self._refused[model] = self._refused.get(model, 0) + 1

    def items(self) -> Iterator[tuple[tuple[str, int, Slot], VersionStats]]:
        """By model, version and slot, of the versions that are served."""
        served = {(r.model, version) for r in self._routes.all() for version in r.versions}
        for key in [key for key in self._stats if key[:2] not in served]:
            del self._stats[key]
        yield from self._stats.items()

    def refused(self) -> Iterator[tuple[str, int]]:
        """By model, of the models that are served."""
        for model in self._refused.keys() - {route.model for route in self._routes.all()}:
            del self._refused[model]
        yield from self._refused.items()


class CallRecorder:
    """Keeps what is to be kept of each call; without `counters` and `records` only statistics."""

    def __init__(
        self,
        routes: Routes,
        stats: CallStats,
        counters: CounterPublisher | None = None,
        records: RecordBuffer | None = None,
    ) -> None:
        self._routes = routes
        self._stats = stats
        self._counters = counters
        self._records = records

    def record_refused(self, route: Route) -> None:
        """The request was the caller's fault."""
        self._stats.count_refused(route.model)

    def record_refused_alone(self, arm: ServedArm) -> None:
        """The other live arm answers what this one refused."""
        if self._counters is not None:
            self._counters.count_refused(arm.counters)

    def record_failure(self, call: CompletedCall, *, alone: bool) -> None:
        """Count a call that failed, and whether the other live arm answers it."""
        if self._counters is None:
            return
        if alone:
            self._count(call, self._counters)
        else:
            seconds = (call.timing.written - call.timing.started) / 1e9
            self._counters.count_unanswerable(call.arm.counters, seconds, call.caller)

    def record(self, call: CompletedCall, *, is_judged: bool = True) -> None:
        """A version that the caller named is no evidence, and its rows are no sample of traffic.

        Nor is a call evidence yet of which it is not known whether the other arm answers it.
        """
        self._stats.of(call.route.model, call.arm.version, call.slot).count(
            call.result, call.timing
        )
        if call.slot == "named":
            return
        if self._counters is not None and is_judged:
            self._count(call, self._counters)
        if self._records is not None:
            self._records.append(
                CallRecord(
                    call.arm.kind,
                    call.prediction_id,
                    call.request_id,
                    time.time_ns() // 1000,
                    call.result,
                    call.size + _RECORD_OVERHEAD,
                )
            )

    def _count(self, call: CompletedCall, counters: CounterPublisher) -> None:
        arm, outputs = call.arm, call.result.outputs
        seconds = (call.timing.written - call.timing.started) / 1e9
        if outputs is None:
            error = redacted_error(call.route.record, call.result.error or "")
            if call.slot == "live" and call.route.canary(arm):
                self._count_canary_error(arm, error, harmed=call.result.harmed)
            elif call.result.harmed:
                self._routes.changed.set()
            counters.count_error(arm.counters, seconds, call.caller)
            return
        if arm.circuit.errors:
            arm.circuit.record_success()
        score = outputs.score() if outputs.prediction is None else None  # a classifier's
        rows = call.result.inputs.rows
        counters.count_answer(arm.counters, seconds, rows, score, call.caller)

    def _count_canary_error(self, arm: ServedArm, error: str, *, harmed: bool) -> None:
        record = arm.circuit.record_harm if harmed else arm.circuit.record_error
        if record(arm.version, error):
            arm.counters.tripped = arm.circuit.opened
            log.error("arm.tripped", version=arm.version, why=arm.circuit.opened)
            self._routes.changed.set()


def _sum(parts: Sequence[VersionStats]) -> VersionStats:
    whole = VersionStats(last=max(part.last for part in parts))
    for each in fields(VersionStats):
        if each.type is int:
            setattr(whole, each.name, sum(getattr(part, each.name) for part in parts))
    return whole

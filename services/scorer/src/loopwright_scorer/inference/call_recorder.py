"""What is kept of a call: counts for the judge, totals for metrics, and its inference record."""

import time
from dataclasses import dataclass

import structlog

from loopwright_scorer.inference.call_stats import CallStats, CallTiming, Slot
from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.recording.recorder import Recorder
from loopwright_scorer.recording.records import CallRecord
from loopwright_scorer.routing.canary_counters import CounterPublisher
from loopwright_scorer.routing.record_policy import redacted_error
from loopwright_scorer.routing.routes import Route, Routes, ServedArm

log = structlog.get_logger()
_RECORD_OVERHEAD = 500
"""Bytes of a record beside the request's own."""


@dataclass(slots=True)
class CompletedCall:
    """A computed call; `size` is the request's, in bytes."""

    route: Route
    arm: ServedArm
    slot: Slot
    scored: ModelResult
    spent: CallTiming
    prediction_id: str
    request_id: str | None
    size: int


class CallRecorder:
    """Without measurements and recorder (staging) only totals are kept."""

    def __init__(
        self,
        routes: Routes,
        ledger: CallStats,
        measurements: CounterPublisher | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._routes = routes
        self._ledger = ledger
        self._measurements = measurements
        self._recorder = recorder

    def refused(self, route: Route) -> None:
        """The request was the caller's fault."""
        self._ledger.refused(route.model)

    def enter(self, done: CompletedCall) -> None:
        """A version that the caller named is no evidence, and its rows are no sample of traffic."""
        self._ledger.of(done.route.model, done.arm.version, done.slot).add(done.scored, done.spent)
        if done.slot == "named":
            return
        if self._measurements is not None:
            self._measure(done, self._measurements)
        if self._recorder is not None:
            size = done.size + _RECORD_OVERHEAD
            micros = time.time_ns() // 1000
            self._recorder.append(
                CallRecord(
                    done.arm.kind, done.prediction_id, done.request_id, micros, done.scored, size
                )
            )

    def _measure(self, done: CompletedCall, measurements: CounterPublisher) -> None:
        arm, scored = done.arm, done.scored
        seconds = (done.spent.written - done.spent.started) / 1e9
        if scored.outputs is not None:
            arm.circuit.succeeded()
            is_classifier = scored.outputs.prediction is None
            score = scored.outputs.score() if is_classifier else None
            arm.counters.count_answer(seconds, scored.inputs.rows, score)
        else:
            arm.counters.count_error(seconds)
            if done.slot == "live" and done.route.canary(arm):
                self._trip(arm, redacted_error(done.route.record, scored.error or ""))
        measurements.mark_changed(arm.counters, urgent=scored.outputs is None)

    def _trip(self, arm: ServedArm, error: str) -> None:
        if arm.circuit.failed(arm.version, error):
            arm.counters.tripped = arm.circuit.opened
            log.error("arm.tripped", version=arm.version, why=arm.circuit.opened)
            self._routes.changed.set()

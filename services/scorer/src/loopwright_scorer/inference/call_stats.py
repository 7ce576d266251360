"""Cumulative counts of calls by model, version and slot: for Prometheus and for V2's statistics."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.routing.canary_counters import LATENCY_EDGES, latency_bucket
from loopwright_scorer.routing.routes import Routes

Slot = Literal["live", "shadow", "named"]
"""`named`: the caller asked for this version, so the route had no say."""
_LABELS = ["model", "version", "slot"]


@dataclass(slots=True)
class CallTiming:
    """Moments of one call in nanoseconds of the monotonic clock."""

    started: int
    read: int
    computed: int
    written: int


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

    def add(self, scored: ModelResult, spent: CallTiming) -> None:
        whole = spent.written - spent.started
        self.calls += 1
        self.last = time.time()
        self.latency[latency_bucket(whole / 1e9)] += 1
        if scored.outputs is None:
            self.errors += 1
            self.failed_ns += whole
            return
        self.rows += scored.inputs.rows
        self.answered_ns += whole
        self.queued_ns += scored.queued_ns
        self.read_ns += spent.read - spent.started
        self.computed_ns += spent.computed - spent.read - scored.queued_ns
        self.written_ns += spent.written - spent.computed


class CallStats(Collector):
    """The totals of what is served; those of a version go when no route names it."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._totals: dict[tuple[str, int, Slot], VersionStats] = {}
        self._refused: dict[str, int] = {}

    def of(self, model: str, version: int, slot: Slot) -> VersionStats:
        key = (model, version, slot)
        if (totals := self._totals.get(key)) is None:
            totals = self._totals[key] = VersionStats()
        return totals

    def asked(self, model: str, version: int) -> VersionStats:
        """All that callers asked of a version, whoever chose it."""
        return _sum([self.of(model, version, "live"), self.of(model, version, "named")])

    def refused(self, model: str) -> None:
        """Count a request that was the caller's fault."""
        self._refused[model] = self._refused.get(model, 0) + 1

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """The Prometheus families."""
        self._prune()
        calls = CounterMetricFamily(
            "loopwright_predictions", "Calls that a version computed.", labels=[*_LABELS, "outcome"]
        )
        rows = CounterMetricFamily(
            "loopwright_prediction_rows", "Rows that a version answered.", labels=_LABELS
        )
        seconds = HistogramMetricFamily(
            "loopwright_prediction_duration_seconds",
            "Seconds from the whole request to the written answer.",
            labels=_LABELS,
        )
        for (model, version, slot), totals in self._totals.items():
            labels = [model, str(version), slot]
            calls.add_metric([*labels, "answered"], totals.calls - totals.errors)
            calls.add_metric([*labels, "failed"], totals.errors)
            rows.add_metric(labels, totals.rows)
            spent = (totals.answered_ns + totals.failed_ns) / 1e9
            seconds.add_metric(labels, list(_buckets(totals.latency)), spent)
        yield from (calls, rows, seconds, self._refused_family())

    def _refused_family(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "loopwright_requests_refused", "Requests at fault, by model.", labels=["model"]
        )
        for model, count in self._refused.items():
            family.add_metric([model], count)
        return family

    def _prune(self) -> None:
        served = {(r.model, version) for r in self._routes.all() for version in r.versions}
        for key in [key for key in self._totals if key[:2] not in served]:
            del self._totals[key]
        for model in self._refused.keys() - {model for model, _ in served}:
            del self._refused[model]


def _sum(parts: Sequence[VersionStats]) -> VersionStats:
    whole = VersionStats(last=max(part.last for part in parts))
    for each in fields(VersionStats):
        if each.type is int:
            setattr(whole, each.name, sum(getattr(part, each.name) for part in parts))
    return whole


def _buckets(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    seen = 0
    for edge, count in zip([*map(str, LATENCY_EDGES), "+Inf"], counts, strict=True):
        seen += count
        yield edge, float(seen)

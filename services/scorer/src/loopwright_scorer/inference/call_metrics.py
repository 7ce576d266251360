"""Counts of calls as Prometheus reads them."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from loopwright_scorer.inference.call_recorder import CallStats
from loopwright_scorer.routing.canary_counters import LATENCY_EDGES

_LABELS = ["model", "version", "slot"]


class CallMetrics(Collector):
    """The Prometheus families of what is served."""

    def __init__(self, stats: CallStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
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
        for (model, version, slot), stats in self._stats.items():
            labels = [model, str(version), slot]
            calls.add_metric([*labels, "answered"], stats.calls - stats.errors)
            calls.add_metric([*labels, "failed"], stats.errors)
            rows.add_metric(labels, stats.rows)
            spent = (stats.answered_ns + stats.failed_ns) / 1e9
            seconds.add_metric(labels, list(_buckets(stats.latency)), spent)
        yield from (calls, rows, seconds, self._refused())

    def _refused(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "loopwright_requests_refused", "Requests at fault, by model.", labels=["model"]
        )
        for model, count in self._stats.refused():
            family.add_metric([model], count)
        return family


def _buckets(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    """Cumulative counts by upper edge, as Prometheus has them."""
    seen = 0
    for edge, count in zip([*map(str, LATENCY_EDGES), "+Inf"], counts, strict=True):
        seen += count
        yield edge, float(seen)

"""Prometheus metrics of the trainer."""

from prometheus_client import CollectorRegistry, Counter


class TrainerMetrics:
    """Counters of this replica: what it did, not what all did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "loopwright_runs", "Runs that ended, by status.", ["status"], registry=registry
        )
        self._steps = Counter(
            "loopwright_step_cache", "Steps done, by reused or ran.", ["result"], registry=registry
        )

    def count_run(self, status: str) -> None:
        self._runs.labels(status).inc()

    def count_step(self, *, reused: bool) -> None:
        self._steps.labels("reused" if reused else "ran").inc()

"""Prometheus metrics of the trainer."""

from prometheus_client import CollectorRegistry, Counter

from loopwright_trainer.runs.domain import RunStatus


class TrainerMetrics:
    """Counted by the replica that did it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "loopwright_runs", "Runs that ended, by status.", ["status"], registry=registry
        )
        self._steps = Counter(
            "loopwright_step_cache", "Steps done, by reused or ran.", ["result"], registry=registry
        )

    def run_ended(self, status: RunStatus) -> None:
        self._runs.labels(status.value).inc()

    def step_done(self, *, reused: bool) -> None:
        self._steps.labels("reused" if reused else "ran").inc()

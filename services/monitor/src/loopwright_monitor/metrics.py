"""Prometheus metrics of the monitor, taken from its database so that a restart loses none."""

from prometheus_client import CollectorRegistry, Gauge

from loopwright_monitor.detectors.betting import GROUPS
from loopwright_monitor.detectors.e_process import EvidenceProcess
from loopwright_monitor.watched.repository import WatchedModel

MAX_FEATURES = 20
"""Features shown of each model and group, those with most evidence."""


class MonitorMetrics:
    """The gauges of `/metrics`: counts of rows per model, evidence in nats per feature."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._totals = {
            "rows": self._of_model(registry, "rows_seen", "Live rows learnt."),
            "captured": self._of_model(registry, "captured_rows", "Live rows captured."),
            "labelled": self._of_model(registry, "labelled_rows", "Captured rows with a label."),
            "missed": self._of_model(registry, "missed_batches", "Logged batches that never came."),
            "unknown_tails": self._of_model(
                registry, "unknown_tails", "Runs of a scorer that ended without an end mark."
            ),
            "dropped": self._of_model(registry, "dropped_rows", "Rows that scorers did not log."),
        }
        self._alarm_at = self._of_model(
            registry, "drift_alarm_at", "Log of the mean e-value at which drift is reported."
        )
        self._evidence = Gauge(
            "loopwright_drift_evidence",
            "Log of a feature's e-value; only the features with most evidence.",
            ["model", "group", "feature"],
            registry=registry,
        )

    def begin(self) -> None:
        """Forget which features were shown: others may have more evidence now."""
        self._evidence.clear()

    def show(self, model: WatchedModel, process: EvidenceProcess | None) -> None:
        for name, gauge in self._totals.items():
            gauge.labels(model.model).set(getattr(model, name))
        if process is None:
            return
        self._alarm_at.labels(model.model).set(process.bets.log_threshold)
        for group in GROUPS:
            for evidence in process.evidence(group)[:MAX_FEATURES]:
                self._evidence.labels(model.model, group, evidence.name).set(evidence.evidence)

    @staticmethod
    def _of_model(registry: CollectorRegistry, name: str, says: str) -> Gauge:
        return Gauge(f"loopwright_monitor_{name}", says, ["model"], registry=registry)

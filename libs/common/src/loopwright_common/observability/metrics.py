"""Prometheus metrics of a service; one registry per service, so that all fit in one process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_END_TO_END = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Metrics:
    """Delivery metrics of every service; services add their own to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events_published = Counter(
            "loopwright_events_published", "Events published.", ["type"], registry=self.registry
        )
        self.outbox_pending = Gauge(
            "loopwright_outbox_pending",
            "Events that wait to be published, as of the last few seconds.",
            registry=self.registry,
        )
        self.outbox_oldest_age = Gauge(
            "loopwright_outbox_oldest_age_seconds",
            "How long the first of them has waited; 0 when none waits.",
            registry=self.registry,
        )
        self.events_consumed = Counter(
            "loopwright_events_consumed",
            "Records handled, by outcome.",
            ["consumer", "topic", "outcome"],
            registry=self.registry,
        )
        self.event_handle = Histogram(
            "loopwright_event_handle_seconds",
            "Seconds from fetch to commit.",
            ["consumer"],
            registry=self.registry,
        )
        self.event_end_to_end = Histogram(
            "loopwright_event_end_to_end_seconds",
            "Seconds from the time of an event to the commit of its effects.",
            ["consumer"],
            registry=self.registry,
            buckets=_END_TO_END,
        )
        self.consumer_lag = Gauge(
            "loopwright_consumer_lag",
            "Offsets between a consumer's position and the end of the partition.",
            ["consumer", "topic", "partition"],
            registry=self.registry,
        )
        self.parked_keys = Gauge(
            "loopwright_parked_keys",
            "Keys whose first record waits for another try.",
            ["consumer"],
            registry=self.registry,
        )
        self.dlq_depth = Gauge(
            "loopwright_dlq_depth",
            "Dead letters that nobody has decided about.",
            ["consumer"],
            registry=self.registry,
        )
        self.consumer_progress = Gauge(
            "loopwright_consumer_last_progress_timestamp_seconds",
            "Unix time of the last fetch that ended well.",
            ["consumer"],
            registry=self.registry,
        )
        self.loop_lag = Gauge(
            "loopwright_loop_lag_seconds",
            "How late the event loop woke last, in seconds.",
            registry=self.registry,
        )

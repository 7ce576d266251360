"""Prometheus metrics of a service; one registry per service, so that all fit in one process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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

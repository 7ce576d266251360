"""What became of a consumer's records: counted, logged, and a reason to stop if too many died."""

import time
from collections.abc import Iterable

import structlog

from loopwright_common import clock
from loopwright_common.cloudevents import Record
from loopwright_common.delivery.inbox import DecodedRecord
from loopwright_common.errors import described
from loopwright_common.observability.metrics import Metrics

_GRACE_SECONDS = 10.0
log = structlog.get_logger()


class ConsumerStats:
    """What became of one member's records; `stopped` says why it gave up on itself."""

    def __init__(self, consumer: str, metrics: Metrics, poison_limit: int) -> None:
        self.stopped: str | None = None
        self._consumer = consumer
        self._metrics = metrics
        self._poison_limit = poison_limit
        self._poisoned = 0
        self._paused: tuple[float, str] | None = None

    def handled(self, work: Iterable[DecodedRecord]) -> None:
        """They were done, which ends a series of dead letters."""
        self._poisoned, now = 0, clock.now()
        took = self._metrics.event_end_to_end.labels(self._consumer)
        for ready in work:
            self._count(ready.record, "handled")
            took.observe((now - ready.event.time).total_seconds())

    def blocked(self, record: Record) -> None:
        """Behind an earlier record of its key."""
        self._count(record, "parked")

    def parked(self, record: Record, error: Exception) -> None:
        self._count(record, "parked")
        log.warning("consumer.parked", consumer=self._consumer, topic=record.topic, key=record.key,
                    offset=record.offset, error=repr(error), exc_info=error)  # fmt: skip

    def dead_lettered(self, record: Record, error: Exception, *, is_new: bool) -> None:
        """Only new dead letters are poison: a replayed one was tried by a person's wish."""
        self._count(record, "dead-letter")
        log.error("consumer.dead-letter", consumer=self._consumer, topic=record.topic,
                  offset=record.offset, error=str(error))  # fmt: skip
        self._poisoned += is_new
        if self._poisoned >= self._poison_limit:
            self.stopped = (
                f"{self._consumer}: {self._poisoned} records in a row went to the dead letters, "
                f"last: {described(error)}; mend the cause and restart the service"
            )
            log.error("consumer.stopped", consumer=self._consumer, why=self.stopped)

    def paused(self, error: Exception) -> None:
        """Nothing is wrong with the records: the bus or the database is away."""
        since = self._paused[0] if self._paused else time.monotonic()
        self._paused = (since, f"{self._consumer}: {error}")
        log.warning("consumer.paused", consumer=self._consumer, error=str(error))

    def resumed(self) -> None:
        self._paused = None
        self._metrics.consumer_progress.labels(self._consumer).set_to_current_time()

    def trouble(self) -> str | None:
        """Why it stopped, or for what it has been waiting for a while."""
        if self.stopped or self._paused is None:
            return self.stopped
        since, why = self._paused
        return why if time.monotonic() - since > _GRACE_SECONDS else None

    def _count(self, record: Record, outcome: str) -> None:
        self._metrics.events_consumed.labels(self._consumer, record.topic, outcome).inc()

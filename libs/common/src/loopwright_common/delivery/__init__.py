"""Events from outbox to handler: at least once on the wire, exactly once in effect."""

from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.handlers import BoundBy, ContextHandler, TwoPhaseHandler, bind
from loopwright_common.delivery.inbox import BoundTwoPhaseHandler, Handler, Handlers
from loopwright_common.delivery.outbox_relay import OutboxRelay, count_unpublished
from loopwright_common.delivery.partition_ownership import FencedError
from loopwright_common.delivery.retry_policy import RetryPolicy

__all__ = [
    "BoundBy",
    "BoundTwoPhaseHandler",
    "Consumer",
    "ContextHandler",
    "FencedError",
    "Handler",
    "Handlers",
    "OutboxRelay",
    "RetryPolicy",
    "TwoPhaseHandler",
    "bind",
    "count_unpublished",
]

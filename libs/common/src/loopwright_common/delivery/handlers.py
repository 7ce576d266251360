"""The shape of every service's handlers: module functions over one small context.

`handlers.py` of a service says what it does on each event in one dictionary; `bind` gives the
functions what they need, once the service is put together:

    HANDLERS: BoundBy[Context] = {CodeChanged: on_code_changed}
    Consumer("trainer.intake", bind(HANDLERS, context), database, bus, metrics)
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from loopwright_common.database import UnitOfWork
from loopwright_common.delivery.inbox import BoundTwoPhaseHandler, Handler, Handlers
from loopwright_common.events import Event, Payload

C = TypeVar("C")
ContextHandler = Callable[[Event[Any], UnitOfWork, C], Awaitable[None]]
"""Handles an event inside the consumer's transaction; whatever it raises undoes all of it."""


@dataclass(frozen=True, slots=True)
class TwoPhaseHandler(Generic[C]):
    """A handler in two parts: `prepare` works outside the transaction, `apply` inside it."""

    prepare: Callable[[Event[Any], C], Awaitable[Any]]
    apply: Callable[[Event[Any], Any, UnitOfWork, C], Awaitable[None]]


BoundBy = Mapping[type[Payload], ContextHandler[C] | TwoPhaseHandler[C]]
"""What a service does on each class of event, given its context."""


def bind(handlers: BoundBy[C], context: C) -> Handlers:
    """The handlers of a consumer, each with the service's context."""
    return {payload: _bound(handler, context) for payload, handler in handlers.items()}


def _bound(
    handler: ContextHandler[C] | TwoPhaseHandler[C], context: C
) -> Handler | BoundTwoPhaseHandler:
    if not isinstance(handler, TwoPhaseHandler):
        return lambda event, uow: handler(event, uow, context)
    return BoundTwoPhaseHandler(
        prepare=lambda event: handler.prepare(event, context),
        apply=lambda event, value, uow: handler.apply(event, value, uow, context),
    )

"""Events to effects, once: what a consumer has handled, and the handlers that do it.

An event is claimed in the transaction of its effects, so a repeated one changes nothing. A rebuild
begins a new generation, in which every event is handled once more; one that was handled in an
earlier generation has told others what it had to, and emits nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from opentelemetry.trace import SpanKind
from sqlalchemy.dialects import postgresql, sqlite
from structlog.contextvars import bound_contextvars

from loopwright_common import clock
from loopwright_common.cloudevents import Record, codec
from loopwright_common.database import Cause, UnitOfWork, inbox
from loopwright_common.events import Event, Payload
from loopwright_common.observability import tracing

Handler = Callable[[Event[Any], UnitOfWork], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BoundTwoPhaseHandler:
    """A handler in two parts: `prepare` works outside the transaction, `apply` inside it."""

    prepare: Callable[[Event[Any]], Awaitable[Any]]
    apply: Callable[[Event[Any], Any, UnitOfWork], Awaitable[None]]


Handlers = Mapping[type[Payload], Handler | BoundTwoPhaseHandler]


@dataclass(frozen=True, slots=True)
class DecodedRecord:
    """A decoded record with what is left to do for it inside the transaction."""

    record: Record
    event: Event[Any]
    run: Callable[[UnitOfWork], Awaitable[None]]


async def prepare(record: Record, handlers: Handlers) -> DecodedRecord:
    """The decoded record with what is left to do; UndecodableError when it is no event we know."""
    event = codec.decode(record)
    handler = handlers[type(event.data)]
    if not isinstance(handler, BoundTwoPhaseHandler):
        return DecodedRecord(record, event, lambda uow: handler(event, uow))
    value = await handler.prepare(event)
    return DecodedRecord(record, event, lambda uow: handler.apply(event, value, uow))


async def apply(
    uow: UnitOfWork, consumer: str, generation: int, work: Sequence[DecodedRecord]
) -> None:
    """Do, in order, what was not done in this generation."""
    first = await _claim(uow, consumer, generation, [ready.event.id for ready in work])
    for ready in work:
        spoke_in = first.pop(ready.event.id, None)
        if spoke_in is None:
            continue
        uow.suppress_emits = spoke_in < generation
        await _run(uow, consumer, ready)


async def _run(uow: UnitOfWork, consumer: str, ready: DecodedRecord) -> None:
    event, topic = ready.event, ready.record.topic
    attributes = {"messaging.destination.name": topic, "messaging.message.id": event.id,
            "messaging.consumer.group.name": consumer}  # fmt: skip
    service = consumer.partition(".")[0]
    with (
        bound_contextvars(event_id=event.id, chain_id=event.chain_id),
        tracing.span(
            service, f"process {topic}", event.traceparent, SpanKind.CONSUMER, attributes
        ) as at,
    ):
        uow.follow(Cause.of(event, at), consumer)
        await ready.run(uow)


async def _claim(
    uow: UnitOfWork, consumer: str, generation: int, event_ids: Iterable[str]
) -> dict[str, int]:
    """The events that are ours to handle now, each with the generation that handled it first.

    Whoever else claims one of them meanwhile waits for the end of this transaction.
    """
    row = {"consumer": consumer, "handled_at": clock.now(),
           "generation": generation, "first": generation}  # fmt: skip
    rows = [{**row, "event_id": event_id} for event_id in sorted(set(event_ids))]
    if not rows:
        return {}
    claim = _claiming(uow.connection.dialect.name)
    claimed = await uow.connection.execute(claim, rows if len(rows) > 1 else rows[0])
    return {row.event_id: row.first for row in claimed}


@cache
def _claiming(dialect: str) -> Any:
    """Built once: that takes longer than to run it."""
    new: Any = (sqlite if dialect == "sqlite" else postgresql).insert(inbox)
    return new.on_conflict_do_update(
        index_elements=["consumer", "event_id"],
        set_={name: new.excluded[name] for name in ("generation", "handled_at")},
        where=inbox.c.generation < new.excluded.generation,
    ).returning(inbox.c.event_id, inbox.c.first)

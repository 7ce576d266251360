"""One database transaction: state, events to publish, and the cause they follow from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentelemetry.trace import SpanKind
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.cloudevents import OutgoingRecord, codec
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.database.dialect import lock_until_commit
from loopwright_common.errors import TooLargeError
from loopwright_common.events import TOPICS, Event, Payload
from loopwright_common.ids import derived_id, new_id
from loopwright_common.observability import tracing


@dataclass(frozen=True, slots=True)
class Cause:
    """What led to the work at hand; jobs store it as JSON and carry on the chain later."""

    chain_id: str
    event_ids: tuple[str, ...]
    traceparent: str

    @classmethod
    def of(cls, event: Event[Payload], traceparent: str | None = None) -> "Cause":
        """`traceparent` names the work within which the event is handled."""
        return cls(event.chain_id, (event.id,), traceparent or event.traceparent)

    def to_json(self) -> dict[str, Any]:
        return {
            "chain_id": self.chain_id,
            "event_ids": list(self.event_ids),
            "traceparent": self.traceparent,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Cause":
        """The cause that `to_json` wrote; KeyError or TypeError for other JSON."""
        return cls(stored["chain_id"], tuple(stored["event_ids"]), stored["traceparent"])


DeferredWork = Callable[["UnitOfWork", list[Any]], Awaitable[None]]


class UnitOfWork:
    """State changes and emitted events commit together or not at all."""

    def __init__(self, connection: AsyncConnection, source: str, cause: Cause | None) -> None:
        self.connection = connection
        self.source = source
        self.emitted = 0
        self.suppress_emits = False
        """What is emitted while this holds has been told before, and stays here."""
        self.after_commit: list[Callable[[], None]] = []
        """Called once the changes can be seen by others, such as to wake a worker."""
        self._scope = source
        self._cause = cause
        self._ordinals: dict[str, int] = {}
        self._outgoing: list[dict[str, Any]] = []
        self._deferred: dict[DeferredWork, list[Any]] = {}

    def follow(self, cause: Cause, scope: str) -> None:
        """From here on, emitted events follow from `cause`, as the work of `scope`."""
        self._cause, self._scope, self._ordinals = cause, scope, {}

    @property
    def cause(self) -> Cause | None:
        return self._cause

    async def lock(self, *names: str) -> None:
        """Until the end of this transaction, others of this service that name the same wait.

        For what reads first and then writes what it decided. SQLite runs one transaction at a time
        anyway. The names are locked in order, so that two callers cannot wait for each other.
        """
        await lock_until_commit(self.connection, [f"{self.source}/{name}" for name in names])

    async def emit(
        self, data: Payload, *, key: str, subject: str, identity: str | None = None
    ) -> Event[Payload]:
        """Publish with this transaction; the same work repeated gives the same event id.

        `identity` names the fact itself (such as a profile and a block) and then decides the id.
        TooLargeError, rather than a row that the relay could never publish.
        """
        event = self._event(data, key, subject, identity)
        if self.suppress_emits:
            return event
        outgoing = codec.encode(event)
        if len(outgoing.value) > (limit := TOPICS[data.topic].largest_record):
            raise TooLargeError(f"{data.topic}: {len(outgoing.value)} bytes; at most {limit}")
        self.send(event.id, outgoing, outgoing.headers["ce_type"], event.time)
        return event

    def defer(self, work: DeferredWork, item: object) -> None:
        """Before the commit, do the work once for all items for which it was asked.

        For what is cheaper for many at once than one by one. What it raises fails the transaction.
        """
        self._deferred.setdefault(work, []).append(item)

    async def finish(self) -> None:
        """The last statements before the commit: what was deferred, and what was sent."""
        while self._deferred:
            work, items = self._deferred.popitem()
            await work(self, items)
        await self._fill_outbox()

    def send(self, record_id: str, outgoing: OutgoingRecord, kind: str, at: datetime) -> None:
        """Publish these bytes with this transaction; `kind` is the type to count them under."""
        self._outgoing.append(
            {
                "id": record_id,
                "aggregatetype": outgoing.topic,
                "aggregateid": outgoing.key,
                "type": kind,
                "payload": outgoing.value,
                "headers": dict(outgoing.headers),
                "created_at": at,
            }
        )
        self.emitted += 1

    async def _fill_outbox(self) -> None:
        """Insert what was sent, in order.

        A lock on each (topic, key) makes the order of positions the order of commits. Taken all at
        once, in order and after every other lock, these locks are held shortly and never crosswise.
        """
        rows, self._outgoing = self._outgoing, []
        if rows:
            keys = {(row["aggregatetype"], row["aggregateid"]) for row in rows}
            await self.lock(*(f"outbox/{topic}/{key}" for topic, key in keys))
            await self.connection.execute(insert(outbox), rows)

    def _event(self, data: Payload, key: str, subject: str, identity: str | None) -> Event[Payload]:
        cause = self._cause
        if identity is not None:
            event_id = derived_id(identity, data.topic)
        elif cause is not None:
            ordinal = self._ordinals[data.topic] = self._ordinals.get(data.topic, 0) + 1
            event_id = derived_id(self._scope, *cause.event_ids, data.topic, ordinal)
        else:
            event_id = new_id()
        attributes = {"messaging.destination.name": data.topic, "messaging.message.id": event_id}
        parent = cause.traceparent if cause else None
        service = self.source.rpartition("/")[2]
        with tracing.span(
            service, f"publish {data.topic}", parent, SpanKind.PRODUCER, attributes
        ) as traceparent:
            pass
        return Event(
            id=event_id,
            source=self.source,
            subject=subject,
            time=clock.now(),
            key=key,
            chain_id=cause.chain_id if cause else event_id,
            causes=cause.event_ids if cause else (),
            traceparent=traceparent,
            data=data,
        )

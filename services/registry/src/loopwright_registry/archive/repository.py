"""Queries on the archive."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.cloudevents import codec
from loopwright_common.events import Event, Payload
from loopwright_registry.archive.domain import ArchivedEvent, EventFilter
from loopwright_registry.archive.tables import archive
from loopwright_registry.mlflow.sql import Clause, chunks, insert_new

_COLUMNS = [archive.c[name] for name in ArchivedEvent.__dataclass_fields__]


class Archive:
    """Every lifecycle event, in the order in which it came."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, event: Event[Payload]) -> None:
        """Once, as it came: also the fields that only its producer knows.

        Whoever calls holds the archive's lock, so that positions become visible in their order:
        else a reader would pass by one whose transaction commits later than the next one's.
        """
        body = codec.to_structured(event.received or codec.encode(event))
        data = body.get("data", {})
        row = {
            "id": event.id,
            "topic": event.data.topic,
            "subject": event.subject,
            "model": data.get("model"),
            "version": data.get("version"),
            "time": clock.to_text(event.time),
            "causes": list(event.causes),
            "body": body,
        }
        await insert_new(self._connection, archive, [row])

    async def events_after(
        self, position: int, event_filter: EventFilter, limit: int
    ) -> list[ArchivedEvent]:
        """The next events, at most `limit`, behind a position."""
        behind = archive.c.position > position
        return await self._all(
            sa.select(*_COLUMNS).where(behind, *_matching(event_filter)).limit(limit)
        )

    async def newest_position(self) -> int:
        """0 while nothing is archived."""
        return await self._connection.scalar(sa.select(sa.func.max(archive.c.position))) or 0

    async def newest_events(self, event_filter: EventFilter, limit: int) -> list[ArchivedEvent]:
        """The last events, at most `limit`, oldest first."""
        last = sa.select(archive.c.position).where(*_matching(event_filter))
        last = last.order_by(archive.c.position.desc()).limit(limit)
        return await self._all(sa.select(*_COLUMNS).where(archive.c.position.in_(last)))

    async def get_many(self, ids: Sequence[str]) -> list[ArchivedEvent]:
        """Those of the events that are archived."""
        events = []
        for some in chunks(ids):
            events += await self._all(sa.select(*_COLUMNS).where(archive.c.id.in_(some)))
        return events

    async def events_about(
        self, model: str, version: int, subject: str, topics: Sequence[str]
    ) -> list[ArchivedEvent]:
        """Events that name the version in their data or their subject."""
        named = sa.and_(archive.c.model == model, archive.c.version == version)
        here = sa.or_(named, archive.c.subject == subject)
        return await self._all(sa.select(*_COLUMNS).where(here, archive.c.topic.in_(topics)))

    async def _all(self, query: sa.Select[Any]) -> list[ArchivedEvent]:
        rows = await self._connection.execute(query.order_by(archive.c.position))
        return [ArchivedEvent(**row._asdict()) for row in rows]


def _matching(event_filter: EventFilter) -> list[Clause]:
    named = {archive.c.subject: event_filter.subject, archive.c.model: event_filter.model}
    clauses: list[Clause] = [col == value for col, value in named.items() if value is not None]
    return [*clauses, archive.c.topic.in_(event_filter.types)] if event_filter.types else clauses

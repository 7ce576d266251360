"""The archive over HTTP."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from loopwright_common.database import Database
from loopwright_common.errors import InvalidError
from loopwright_common.events import TOPICS, TYPE_PREFIX
from loopwright_registry.api_router import api_router
from loopwright_registry.archive import stream
from loopwright_registry.archive.domain import ArchivedEvent, EventFilter
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.repository import Archive
from loopwright_registry.archive.schemas import EventsOut, ExplainedEventOut, WhyOut
from loopwright_registry.archive.service import why
from loopwright_registry.mlflow.domain import LARGEST_INTEGER
from loopwright_registry.versions.references import find_version
from loopwright_registry.versions.repository import Versions

STREAMED: dict[str, Any] = {"content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}}}


After = Annotated[int | None, Query(ge=0, le=LARGEST_INTEGER)]


def event_filter(
    type: Annotated[list[str] | None, Query(max_length=50)] = None,
    subject: Annotated[str | None, Query(max_length=512)] = None,
    model: Annotated[str | None, Query(max_length=256)] = None,
) -> EventFilter:
    """What a reader wants of the archive; InvalidError for a type that is no event."""
    return EventFilter(types=[_topic(name) for name in type or ()], subject=subject, model=model)


Selection = Annotated[EventFilter, Depends(event_filter)]


def create_router(database: Database, feed: EventFeed) -> APIRouter:
    """Routes for the archive in pages and as a stream, and for why a version is where it is."""
    router = api_router("events")
    _add_events(router, database, feed)
    _add_why(router, database)
    return router


def _add_events(router: APIRouter, database: Database, feed: EventFeed) -> None:
    @router.get("/events", response_model=EventsOut, responses={200: STREAMED})
    async def list_events(
        request: Request,
        selection: Selection,
        after: After = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        last: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    ) -> EventsOut | Response:
        """Lifecycle events in archive order; `type` is a topic or a full CloudEvents type.

        With `last` the newest ones that match, whatever `after` and `limit` say. With `Accept:
        text/event-stream` (or at `/v1/events/stream`) they come as Server-Sent Events, also those
        to come: from `Last-Event-ID`, else from `after`, else from now.
        """
        if stream.accepts_event_stream(request):
            return await follow(request, selection, after)
        async with database.read() as connection:
            archive = Archive(connection)
            if last is not None:
                return _events_out(await archive.newest_events(selection, last), None)
            return _events_out(await archive.events_after(after or 0, selection, limit), limit)

    # Not in the document: an answer that never ends cannot be checked against it.
    @router.get("/events/stream", include_in_schema=False)
    async def follow(request: Request, selection: Selection, after: After = None) -> Response:
        position = await stream.start_position(request, after, database)
        return stream.EventStreamResponse(feed, position, selection)


def _add_why(router: APIRouter, database: Database) -> None:
    @router.get("/why/{model}/{version}")
    async def tell_why(model: str, version: str) -> WhyOut:
        """The events that put a version (a number or `@alias`) where it is, oldest first."""
        async with database.read() as connection:
            found = await find_version(connection, model, version)
            event_id = await Versions(connection).registered_event_id(found.model_id, found.version)
            events = await why(connection, model, found.version, event_id)
        items = [ExplainedEventOut.model_validate(asdict(event)) for event in events]
        return WhyOut(model=model, version=found.version, aliases=list(found.aliases), items=items)


def _events_out(events: list[ArchivedEvent], limit: int | None) -> EventsOut:
    items = [{"position": event.position, **event.body} for event in events]
    return EventsOut(items=items, next=events[-1].position if len(events) == limit else None)


def _topic(type: str) -> str:
    """InvalidError unless such events are archived."""
    topic = type.removeprefix(TYPE_PREFIX).rsplit(".v", 1)[0]
    if topic not in TOPICS or not TOPICS[topic].archived:
        known = ", ".join(sorted(name for name, kept in TOPICS.items() if kept.archived))
        raise InvalidError(f"type: no {type[:100]!r} is archived; known are {known}", field="type")
    return topic

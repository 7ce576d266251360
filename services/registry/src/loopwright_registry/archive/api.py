"""The archive over HTTP."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from loopwright_common.database import Database
from loopwright_common.errors import InvalidError
from loopwright_common.events import TOPICS, TYPE_PREFIX
from loopwright_common.web.app import PROBLEMS
from loopwright_registry.archive import stream
from loopwright_registry.archive.domain import ArchivedEvent, Wanted
from loopwright_registry.archive.feed import Feed
from loopwright_registry.archive.repository import Archive
from loopwright_registry.archive.service import why
from loopwright_registry.mlflow.domain import LARGEST_INTEGER
from loopwright_registry.versions.references import version_of
from loopwright_registry.versions.repository import Versions

STREAMED: dict[str, Any] = {"content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}}}


class EventsOut(BaseModel):
    """Structured CloudEvents, each with its `position`; `next` is the `after` of the next call."""

    items: list[dict[str, Any]]
    next: int | None


class ToldOut(BaseModel):
    id: str
    type: str
    time: str
    subject: str
    sentence: str
    causes: list[str]


class WhyOut(BaseModel):
    model: str
    version: int
    aliases: list[str]
    items: list[ToldOut]
    next: None = None


After = Annotated[int | None, Query(ge=0, le=LARGEST_INTEGER)]


def wanted_of(
    type: Annotated[list[str] | None, Query(max_length=50)] = None,
    subject: Annotated[str | None, Query(max_length=512)] = None,
    model: Annotated[str | None, Query(max_length=256)] = None,
) -> Wanted:
    return Wanted(types=[_topic(name) for name in type or ()], subject=subject, model=model)


def router(database: Database, feed: Feed) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["events"], responses=PROBLEMS)

    @routes.get("/events", response_model=EventsOut, responses={200: STREAMED})
    async def list_events(
        request: Request,
        wanted: Annotated[Wanted, Depends(wanted_of)],
        after: After = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        last: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    ) -> EventsOut | Response:
        """Lifecycle events in archive order; `type` is a topic or a full CloudEvents type.

        With `last` the newest ones that match, whatever `after` and `limit` say. With `Accept:
        text/event-stream` (or at `/v1/events/stream`) they come as Server-Sent Events, also those
        to come: from `Last-Event-ID`, else from `after`, else from now.
        """
        if stream.asked_for(request):
            return await follow(request, wanted, after)
        async with database.read() as connection:
            archive = Archive(connection)
            if last is not None:
                return _page(await archive.newest(wanted, last), None)
            return _page(await archive.after(after or 0, wanted, limit), limit)

    # Not in the document: an answer that never ends cannot be checked against it.
    @routes.get("/events/stream", include_in_schema=False)
    async def follow(
        request: Request, wanted: Annotated[Wanted, Depends(wanted_of)], after: After = None
    ) -> Response:
        return stream.Stream(feed, await stream.start_of(request, after, database), wanted)

    @routes.get("/why/{model}/{version}")
    async def tell_why(model: str, version: str) -> WhyOut:
        """The events that put a version (a number or `@alias`) where it is, oldest first."""
        async with database.read() as connection:
            found = await version_of(connection, model, version)
            registered = await Versions(connection).event_of(found.model_id, found.version)
            story = await why(connection, model, found.version, registered)
        items = [ToldOut.model_validate(asdict(line)) for line in story]
        return WhyOut(model=model, version=found.version, aliases=list(found.aliases), items=items)

    return routes


def _page(found: list[ArchivedEvent], limit: int | None) -> EventsOut:
    items = [{"position": event.position, **event.body} for event in found]
    return EventsOut(items=items, next=found[-1].position if len(found) == limit else None)


def _topic(type: str) -> str:
    """InvalidError unless such events are archived."""
    topic = type.removeprefix(TYPE_PREFIX).rsplit(".v", 1)[0]
    if topic not in TOPICS or not TOPICS[topic].archived:
        known = ", ".join(sorted(name for name, kept in TOPICS.items() if kept.archived))
        raise InvalidError(f"type: no {type[:100]!r} is archived; known are {known}", field="type")
    return topic

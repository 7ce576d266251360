"""The archive over HTTP."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from loopwright_common.database import Database
from loopwright_common.events import TOPICS, TYPE_PREFIX
from loopwright_common.web import PROBLEMS
from loopwright_registry.domain import LARGEST_INTEGER
from loopwright_registry.events.domain import ArchivedEvent, Wanted
from loopwright_registry.events.repository import Archive
from loopwright_registry.events.service import why
from loopwright_registry.models.references import version_of
from loopwright_registry.models.version_repository import Versions


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


def router(database: Database) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["events"], responses=PROBLEMS)

    @routes.get("/events")
    async def list_events(
        after: Annotated[int, Query(ge=0, le=LARGEST_INTEGER)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        last: Annotated[int | None, Query(ge=1, le=10_000)] = None,
        type: Annotated[str | None, Query(max_length=255)] = None,
        subject: Annotated[str | None, Query(max_length=512)] = None,
        model: Annotated[str | None, Query(max_length=256)] = None,
    ) -> EventsOut:
        """Lifecycle events in archive order; `type` is a topic or a full CloudEvents type.

        With `last` the newest ones that match, whatever `after` and `limit` say.
        """
        wanted = Wanted(type=_topic(type), subject=subject, model=model)
        async with database.read() as connection:
            archive = Archive(connection)
            if last is not None:
                return _page(await archive.newest(wanted, last), None)
            return _page(await archive.after(after, wanted, limit), limit)

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


def _topic(type: str | None) -> str | None:
    if type is None or type in TOPICS:
        return type
    return type.removeprefix(TYPE_PREFIX).rsplit(".v", 1)[0]

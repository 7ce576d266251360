"""An answer that goes on: the archive as `text/event-stream`.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from loopwright_common.database import Database
from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.web.problems import problem_of
from loopwright_registry.archive.domain import EventFilter
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.repository import Archive
from loopwright_registry.mlflow.domain import LARGEST_INTEGER

MEDIA_TYPE = "text/event-stream"
LAST_ID = "last-event-id"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStreamResponse(StreamingResponse):
    """One follower of the feed; 429 or 503 when there are too many."""

    def __init__(self, feed: EventFeed, position: int, event_filter: EventFilter) -> None:
        super().__init__(
            feed.follow(position, event_filter), media_type=MEDIA_TYPE, headers=_HEADERS
        )
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["client"][0] if scope.get("client") else ""
        try:
            self._feed.admit(client)
        except LoopwrightError as error:
            await problem_of(scope["path"], error)(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.release(client)


def accepts_event_stream(request: Request) -> bool:
    return MEDIA_TYPE in request.headers.get("accept", "")


async def start_position(request: Request, after: int | None, database: Database) -> int:
    """The position behind which to begin: a returning follower's, the one asked for, or now's.

    InvalidError for one that is not in the archive, UnavailableError while the database is away.
    """
    async with database.read() as connection:
        newest = await Archive(connection).newest_position()
    last_id = request.headers.get(LAST_ID)
    if not last_id:
        return newest if after is None else _existing("after", after, newest)
    if not last_id.isascii() or not last_id.isdigit() or int(last_id[:20]) > LARGEST_INTEGER:
        raise InvalidError(
            f"header Last-Event-ID: {last_id[:40]!r} is no position; send the `id` of an event",
            field=LAST_ID,
        )
    return _existing(LAST_ID, int(last_id), newest)


def _existing(field: str, position: int, newest: int) -> int:
    if position > newest:
        raise InvalidError(
            f"{field}: there is no position {position} yet; the newest is {newest}", field=field
        )
    return position

"""The archive as Server-Sent Events, for any number of followers up to a limit."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator

from loopwright_common.database import Database
from loopwright_common.errors import OverloadedError, TooManyRequestsError, UnavailableError
from loopwright_registry.archive.domain import ArchivedEvent, EventFilter, FeedLimits
from loopwright_registry.archive.repository import Archive

PAGE = 50
"""Events read, and so held in memory, at once for a follower."""
_RETRY_MS = 2000
_RETRY_SECONDS = 5
_RAISE = "come back later, or read pages of events, or raise LOOPWRIGHT_REGISTRY_STREAMS"


class EventFeed:
    """Followers of this replica, woken when the archive grows.

    At once by what this replica archives, and within `poll` seconds by what others do.
    """

    def __init__(self, database: Database, limits: FeedLimits) -> None:
        self._database = database
        self._limits = limits
        self._grown = asyncio.Event()
        self._followers: Counter[str] = Counter()
        self._stopping = False

    def admit(self, client: str) -> None:
        """Count one more follower of an address, to `release` in the end.

        Raises TooManyRequestsError when it has too many, OverloadedError when all together have.
        """
        if self._followers[client] >= self._limits.per_client:
            raise TooManyRequestsError(
                f"{self._followers[client]} streams are open for this address; {_RAISE}_PER_CLIENT",
                _RETRY_SECONDS,
            )
        if self._followers.total() >= self._limits.max_followers:
            raise OverloadedError(f"too many streams are open; {_RAISE}")
        self._followers[client] += 1

    def release(self, client: str) -> None:
        self._followers[client] -= 1
        if not self._followers[client]:
            del self._followers[client]

    def notify(self) -> None:
        """The archive has grown."""
        self._grown.set()
        self._grown = asyncio.Event()

    def stop(self) -> None:
        """End every stream, so that the server need not wait for them."""
        self._stopping = True
        self.notify()

    async def poll_other_replicas(self) -> None:
        """Until cancelled, look for what other replicas archive while anybody follows."""
        seen = 0
        while True:
            await asyncio.sleep(self._limits.poll)
            if self._followers.total() and (newest := await self._newest()) != seen:
                seen = newest
                self.notify()

    async def follow(self, position: int, event_filter: EventFilter) -> AsyncGenerator[bytes, None]:
        """What lies behind the position and then what comes, until the service stops.

        Pages are read as fast as the follower takes them. The first block gives the
        position, so that a follower can come back even before its first event.
        """
        yield f"retry: {_RETRY_MS}\nid: {position}\n\n".encode()
        while not self._stopping:
            grown = self._grown
            try:
                page = await self._page(position, event_filter)
            except UnavailableError:
                yield b": the database is away, come back later\n\n"
                return
            if page:
                yield b"".join(map(_written, page))
                position = page[-1].position
            if len(page) < PAGE and not await self._woken(grown):
                yield b": still here\n\n"

    async def _page(self, position: int, event_filter: EventFilter) -> list[ArchivedEvent]:
        async with self._database.read() as connection:
            return await Archive(connection).events_after(position, event_filter, PAGE)

    async def _newest(self) -> int:
        async with self._database.read() as connection:
            return await Archive(connection).newest_position()

    async def _woken(self, grown: asyncio.Event) -> bool:
        """False when nothing came for as long as a follower may hear nothing."""
        try:
            async with asyncio.timeout(self._limits.heartbeat):
                await grown.wait()
        except TimeoutError:
            return False
        return True


def _written(event: ArchivedEvent) -> bytes:
    body = json.dumps(event.body, separators=(",", ":"))
    return f"id: {event.position}\nevent: {event.body['type']}\ndata: {body}\n\n".encode()

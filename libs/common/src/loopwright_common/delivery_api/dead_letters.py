"""`/v1/dead-letters` and `/v1/consumers`: how delivery goes, the same in every service."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.delivery import Consumer, dead_letters, retry_queue
from loopwright_common.delivery.dead_letters import DeadLetter, DeadLetterContents, DeadLetterFilter
from loopwright_common.delivery_api.consumers import add_consumer_routes
from loopwright_common.name_field import Name
from loopwright_common.web.problems import PROBLEMS

BoundedName = Annotated[Name, Field(min_length=1, max_length=255)]
State = Literal["dead", "replayed", "discarded", "any"]


class DeadLetterOut(BaseModel):
    """`state` is `dead` until somebody decides: `replayed` or `discarded`, by whom and when."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str
    attempts: int
    error: str
    code_version: str
    first_failed_at: datetime
    failed_at: datetime
    state: str
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None


class DeadLettersOut(BaseModel):
    """`parked` counts the records that are still tried; they are no dead letters yet."""

    items: list[DeadLetterOut]
    parked: int
    next: str | None


class WholeDeadLetterOut(DeadLetterOut):
    """With the record: `value` where it is text, else `value_base64`."""

    headers: dict[str, str]
    time: datetime
    value: str | None = None
    value_base64: str | None = None


class ReplayIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    by: BoundedName = "unknown"


class ReplaySomeIn(ReplayIn):
    """All of a consumer, or of one of its topics."""

    consumer: BoundedName
    topic: BoundedName | None = None


class ReplayedOut(BaseModel):
    replayed: int


class DiscardIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(min_length=1, max_length=4000)]
    by: BoundedName


def create_delivery_router(database: Database, consumers: Sequence[Consumer] = ()) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["delivery"], responses=PROBLEMS)
    _add_reading(router, database)
    _add_deciding(router, database, consumers)
    add_consumer_routes(router, database, consumers)
    return router


def _add_reading(router: APIRouter, database: Database) -> None:
    @router.get("/dead-letters")
    async def list_dead_letters(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        after: Annotated[str | None, Query(max_length=100)] = None,
        consumer: Annotated[str | None, Query(max_length=255)] = None,
        topic: Annotated[str | None, Query(max_length=255)] = None,
        state: State = "dead",
    ) -> DeadLettersOut:
        """Newest first; `next` is the `after` of the following page."""
        which = DeadLetterFilter(
            consumer=consumer, topic=topic, state=None if state == "any" else state
        )
        async with database.read() as connection:
            found = await dead_letters.list_dead_letters(connection, which, limit + 1, after)
            waiting = await retry_queue.count_records(connection)
        items = [DeadLetterOut.model_validate(letter) for letter in found[:limit]]
        following = dead_letters.cursor_of(found[limit - 1]) if len(found) > limit else None
        return DeadLettersOut(items=items, parked=waiting, next=following)

    @router.get("/dead-letters/{id}")
    async def show_dead_letter(id: str) -> WholeDeadLetterOut:
        """By its id, or enough of its beginning."""
        async with database.read() as connection:
            return _whole(*await dead_letters.get(connection, id))


def _add_deciding(router: APIRouter, database: Database, consumers: Sequence[Consumer]) -> None:
    def notice(name: str) -> None:
        for consumer in consumers:
            if consumer.name == name:
                consumer.wake()

    @router.post("/dead-letters/replay")
    async def replay_dead_letters(wanted: ReplaySomeIn) -> ReplayedOut:
        """Let the consumer handle them once more; one that fails again is dead again."""
        which = DeadLetterFilter(consumer=wanted.consumer, topic=wanted.topic)
        until, replayed, some = clock.now(), 0, 1
        while some:
            async with database.unit_of_work() as uow:
                some = await dead_letters.replay_some(uow, which, wanted.by, until)
            replayed += some
            notice(wanted.consumer)
        return ReplayedOut(replayed=replayed)

    @router.post("/dead-letters/{id}/replay")
    async def replay_dead_letter(id: str, wanted: ReplayIn) -> DeadLetterOut:
        """Let its consumer handle it once more, as the same event; dead again if that fails."""
        async with database.unit_of_work() as uow:
            letter = await dead_letters.replay(uow, id, wanted.by)
        notice(letter.consumer)
        return DeadLetterOut.model_validate(letter)

    @router.post("/dead-letters/{id}/discard")
    async def discard_dead_letter(id: str, wanted: DiscardIn) -> DeadLetterOut:
        """Give it up for good; it stays in the history with the reason."""
        async with database.unit_of_work() as uow:
            letter = await dead_letters.discard(uow, id, wanted.reason, wanted.by)
        return DeadLetterOut.model_validate(letter)


def _whole(letter: DeadLetter, held: DeadLetterContents) -> WholeDeadLetterOut:
    text, encoded = _text(held.value), None
    if text is None:
        encoded = base64.b64encode(held.value).decode()
    known = DeadLetterOut.model_validate(letter).model_dump()
    return WholeDeadLetterOut(
        **known, headers=dict(held.headers), time=held.time, value=text, value_base64=encoded
    )


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None

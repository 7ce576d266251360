"""`/v1/dead-letters`: what a service could not handle, the same in every service."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from loopwright_common import dead_letters
from loopwright_common.database import Database
from loopwright_common.web import PROBLEMS


class DeadLetterOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str
    attempts: int
    error: str
    failed_at: datetime


class DeadLettersOut(BaseModel):
    """`parked` counts the records that are still tried; they are no dead letters yet."""

    items: list[DeadLetterOut]
    parked: int
    next: int | None


def delivery_router(database: Database) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["delivery"], responses=PROBLEMS)

    @router.get("/dead-letters")
    async def list_dead_letters(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        after: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> DeadLettersOut:
        """Newest first; `next` is the `after` of the following page."""
        async with database.read() as connection:
            found = await dead_letters.listed(connection, limit + 1, after)
            waiting = await dead_letters.count_parked(connection)
        items = [DeadLetterOut.model_validate(letter) for letter in found[:limit]]
        following = after + limit if len(found) > limit else None
        return DeadLettersOut(items=items, parked=waiting, next=following)

    return router

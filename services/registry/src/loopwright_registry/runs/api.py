"""Which attempt writes to a run: asked by the trainer, unknown to MLflow."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from loopwright_common.database import Database
from loopwright_common.web.app import PROBLEMS
from loopwright_registry.runs.domain import Attempt
from loopwright_registry.runs.run_fencing import hold_run


class TokenIn(BaseModel):
    """The attempt's number, and the sha256 in hex of the token that its clients send."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    attempt: int = Field(ge=0, le=2**31 - 1)


class TokenOut(BaseModel):
    run_id: str
    attempt: int


def router(database: Database) -> APIRouter:
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], responses=PROBLEMS)

    @routes.put("/{run_id}/token")
    async def put_token(run_id: Annotated[str, Path(max_length=256)], given: TokenIn) -> TokenOut:
        """From now on only clients with this token (`MLFLOW_TRACKING_TOKEN`) write to the run.

        409 when the same or a later attempt holds the run already.
        """
        async with database.unit_of_work() as uow:
            await hold_run(uow, run_id, Attempt(given.attempt, given.sha256))
        return TokenOut(run_id=run_id, attempt=given.attempt)

    return routes

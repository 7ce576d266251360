"""The API by which the trainer says which attempt writes to a run; MLflow has none for it."""

from typing import Annotated

from fastapi import APIRouter, Path

from loopwright_common.database import Database
from loopwright_registry.api_router import api_router
from loopwright_registry.runs.domain import RunAttempt
from loopwright_registry.runs.run_fencing import fence_run
from loopwright_registry.runs.schemas import TokenIn, TokenOut


def create_router(database: Database) -> APIRouter:
    """Routes that say which attempt of a pipeline run may write to its tracking run."""
    router = api_router("runs")
    _add_token(router, database)
    return router


def _add_token(router: APIRouter, database: Database) -> None:
    @router.put("/runs/{run_id}/token")
    async def put_token(run_id: Annotated[str, Path(max_length=256)], given: TokenIn) -> TokenOut:
        """From now on only clients with this token (`MLFLOW_TRACKING_TOKEN`) write to the run.

        409 when the same or a later attempt holds the run already.
        """
        async with database.unit_of_work() as uow:
            await fence_run(uow, run_id, RunAttempt(given.attempt, given.sha256))
        return TokenOut(run_id=run_id, attempt=given.attempt)

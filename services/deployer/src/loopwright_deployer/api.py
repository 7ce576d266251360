"""The deployer's HTTP API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from loopwright_common.database.database import Database
from loopwright_common.database.leases import LEASE
from loopwright_common.web.app import PROBLEMS
from loopwright_deployer import operator_actions
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.ownership import describe_owners
from loopwright_deployer.deployments.plan import plan
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions import OperatorRequest
from loopwright_deployer.routing.routes import RouteRevisions
from loopwright_deployer.schemas import (
    DeploymentDetailOut,
    DeploymentsOut,
    OperatorRequestIn,
    PlannedStepOut,
    PlanOut,
    RoutesOut,
    deployment_detail,
    deployment_out,
    route_out,
)

DeploymentId = Annotated[str, Path(max_length=64)]
ModelName = Annotated[str, Path(max_length=255)]
ActionName = Literal["approve", "reject", "pause", "resume", "promote", "abort"]


class Endpoints:
    """Routes over one database; `wake` tells the worker that something was decided."""

    def __init__(
        self, database: Database, environment: str, wake: Callable[[], None], lease: timedelta
    ) -> None:
        self._database = database
        self._lease = lease
        self._environment = environment
        self._wake = wake

    async def list_deployments(
        self,
        model: Annotated[str | None, Query(max_length=255)] = None,
        state: DeploymentState | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        after: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> DeploymentsOut:
        """The newest first; `next` is the `after` of the following page."""
        async with self._database.read() as connection:
            found = await Deployments(connection).page(model, state, limit + 1, after)
            owners = await describe_owners(connection, found, self._lease)
        items = [deployment_out(r, owners.get(r.deployment.id)) for r in found[:limit]]
        following = str(after + limit) if len(found) > limit else None
        return DeploymentsOut(items=items, next=following)

    async def show(self, deployment_id: DeploymentId) -> DeploymentDetailOut:
        return await self._detail(deployment_id)

    async def show_plan(self, deployment_id: DeploymentId) -> PlanOut:
        """What the deployment goes through."""
        async with self._database.read() as connection:
            deployments = Deployments(connection)
            record = await deployments.get(deployment_id)
            story = await deployments.history(deployment_id)
            beside = await self._beside(deployments, record)
        done = {step.state for step in story}
        return PlanOut(
            deployment_id=deployment_id,
            steps=[
                PlannedStepOut(state=step.state, sentence=step.sentence, done=step.state in done)
                for step in plan(record.policy, beside)
            ],
        )

    async def act(
        self, deployment_id: DeploymentId, action: ActionName, request: OperatorRequestIn
    ) -> DeploymentDetailOut:
        """Approve, reject, pause, resume, promote or abort; 409 says what is possible instead."""
        async with self._database.unit_of_work() as uow:
            record = await service.lock_deployment(uow, deployment_id)
            await operator_actions.ACTIONS[action](
                uow, record, OperatorRequest(request.by, request.reason)
            )
            uow.after_commit.append(self._wake)
        return await self._detail(deployment_id)

    async def undo(self, model: ModelName, request: OperatorRequestIn) -> DeploymentDetailOut:
        """Back to the previous champion, at once."""
        async with self._database.unit_of_work() as uow:
            undone = await operator_actions.undo(
                uow, self._environment, model, OperatorRequest(request.by, request.reason)
            )
            uow.after_commit.append(self._wake)
        return await self._detail(undone.deployment.id)

    async def list_routes(self) -> RoutesOut:
        async with self._database.read() as connection:
            rows = await RouteRevisions(connection).all()
        return RoutesOut(items=[route_out(row) for row in rows])

    async def _detail(self, deployment_id: str) -> DeploymentDetailOut:
        async with self._database.read() as connection:
            record = await Deployments(connection).get(deployment_id)
            story = await Deployments(connection).history(deployment_id)
            deployment = record.deployment
            row = await RouteRevisions(connection).get(deployment.environment, deployment.model_id)
            owners = await describe_owners(connection, [record], self._lease)
        return deployment_detail(record, story, row, owners.get(deployment_id))

    @staticmethod
    async def _beside(deployments: Deployments, record: DeploymentRecord) -> int | None:
        """The version it is or was compared with."""
        mine = record.deployment
        if mine.previous is not None or mine.promoted_at is not None:
            return mine.previous
        champion = await deployments.champion(mine.environment, mine.model_id)
        return champion.deployment.version if champion else None


def create_router(
    database: Database,
    environment: str,
    wake: Callable[[], None],
    lease: timedelta = LEASE,
) -> APIRouter:
    endpoints = Endpoints(database, environment, wake, lease)
    router = APIRouter(prefix="/v1", tags=["deployments"], responses=PROBLEMS)
    router.get("/deployments")(endpoints.list_deployments)
    router.get("/deployments/{deployment_id}")(endpoints.show)
    router.get("/deployments/{deployment_id}/plan")(endpoints.show_plan)
    router.post("/deployments/{deployment_id}/{action}")(endpoints.act)
    router.post("/models/{model}/undo")(endpoints.undo)
    router.get("/routes")(endpoints.list_routes)
    return router

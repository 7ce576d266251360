"""The deployer's HTTP API."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.database.leases import LEASE
from loopwright_common.deploy_policy import DeployPolicy
from loopwright_common.errors import NotFoundError, RefusedError
from loopwright_common.policy_reader import read_policy
from loopwright_common.storage import ArtifactStore
from loopwright_common.web.problems import PROBLEMS
from loopwright_deployer.canary.kept_looks import KeptLooks
from loopwright_deployer.canary.looks import KeptLook, judge_again
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState, ModelKey
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.offers import offers
from loopwright_deployer.deployments.ownership import describe_owners
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.attempts import newest_attempt
from loopwright_deployer.operator_actions.gates import skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from loopwright_deployer.routing.routes import RouteRevisions
from loopwright_deployer.schemas import (
    CanaryLooksOut,
    DeploymentDetailOut,
    DeploymentsOut,
    JudgedLookOut,
    JudgedLooksOut,
    JudgeIn,
    OperatorRequestIn,
    PlanOut,
    RoutesOut,
    SkipIn,
    StagingReportOut,
    UndoIn,
    canary_look_out,
    deployment_detail_out,
    deployment_out,
    judged_look_out,
    plan_out,
    route_out,
)

DeploymentId = Annotated[str, Path(max_length=64)]
Limit = Annotated[int, Query(ge=1, le=500)]
After = Annotated[int, Query(ge=0, le=10**9)]
ModelName = Annotated[str, Path(max_length=255)]
Details = Callable[[str], Awaitable[DeploymentDetailOut]]
"""The deployment of an id as it is shown; NotFoundError where there is none."""
ActionName = Literal["approve", "reject", "pause", "resume", "promote", "retry", "abort"]


def create_router(
    database: Database,
    environment: str,
    wake: Callable[[ModelKey], None],
    lease: timedelta = LEASE,
    skippable: Container[Gate] = (Gate.CANARY,),
) -> APIRouter:
    """Routes over one database; `wake` tells the controller that something was decided.

    People may skip the `skippable` gates.
    """
    router = APIRouter(prefix="/v1", tags=["deployments"], responses=PROBLEMS)
    details = _details_of(database, lease, skippable)
    _add_deployments(router, database, lease, details)
    # These first, since the path of a decision takes any verb.
    _add_looks(router, database)
    _add_skips(router, database, wake, details, skippable)
    _add_decisions(router, database, environment, wake, details)
    _add_routes(router, database)
    return router


def create_report_router(database: Database, store: ArtifactStore) -> APIRouter:
    """The reports of staging, which are kept in the store."""
    router = APIRouter(prefix="/v1", tags=["deployments"], responses=PROBLEMS)

    @router.get("/deployments/{deployment_id}/report")
    async def show_report(deployment_id: DeploymentId) -> StagingReportOut:
        """What staging found, with the recorded calls that the version did not answer, and the
        rows that it answers otherwise than the champion."""
        async with database.read() as connection:
            record = await Deployments(connection).get(deployment_id)
        if record.report is None:
            raise NotFoundError(
                f"{record.deployment.model} version {record.deployment.version} has no report yet:"
                " it is made once the version has been staged"
            )
        return StagingReportOut.model_validate_json(await store.get(record.report))

    return router


def _add_deployments(
    router: APIRouter, database: Database, lease: timedelta, details: Details
) -> None:
    @router.get("/deployments")
    async def list_deployments(
        model: Annotated[str | None, Query(max_length=255)] = None,
        state: DeploymentState | None = None,
        limit: Limit = 50,
        after: After = 0,
    ) -> DeploymentsOut:
        """The newest first; `next` is the `after` of the following page."""
        async with database.read() as connection:
            page = await Deployments(connection).page(model, state, limit + 1, after)
            owners = await describe_owners(connection, page, lease)
        items = [deployment_out(r, owners.get(r.deployment.id)) for r in page[:limit]]
        return DeploymentsOut(items=items, next=_following(page, limit, after))

    @router.get("/deployments/{deployment_id}")
    async def show(deployment_id: DeploymentId) -> DeploymentDetailOut:
        return await details(deployment_id)

    @router.get("/deployments/{deployment_id}/plan")
    async def show_plan(deployment_id: DeploymentId) -> PlanOut:
        """What the deployment goes through."""
        async with database.read() as connection:
            deployments = Deployments(connection)
            record = await deployments.get(deployment_id)
            history = await deployments.history(deployment_id)
            champion = await _compared_with(deployments, record)
        return plan_out(record, history, champion)


def _add_looks(router: APIRouter, database: Database) -> None:
    @router.get("/deployments/{deployment_id}/evidence")
    async def show_evidence(
        deployment_id: DeploymentId, limit: Limit = 50, after: After = 0
    ) -> CanaryLooksOut:
        """What the canary was judged by at each look that is kept, and what was decided."""
        _, looks = await _looks(database, deployment_id, limit + 1, after)
        items = [canary_look_out(kept) for kept in looks[:limit]]
        return CanaryLooksOut(items=items, next=_following(looks, limit, after))

    @router.post("/deployments/{deployment_id}/judge")
    async def judge(
        deployment_id: DeploymentId, request: JudgeIn, limit: Limit = 50, after: After = 0
    ) -> JudgedLooksOut:
        """The looks judged again, by the deployment's policy or by another; it changes nothing."""
        record, looks = await _looks(database, deployment_id, limit + 1, after)
        live = record.policy
        by = live if request.policy is None else read_policy(DeployPolicy, request.policy)
        items = await asyncio.to_thread(_judged, looks[:limit], by, live)
        return JudgedLooksOut(items=items, next=_following(looks, limit, after))


def _following(found: Sequence[object], limit: int, after: int) -> str | None:
    """The `after` of the next page, where more than `limit` were found for this one."""
    return str(after + limit) if len(found) > limit else None


async def _looks(
    database: Database, deployment_id: str, limit: int, after: int
) -> tuple[DeploymentRecord, Sequence[KeptLook]]:
    async with database.read() as connection:
        record = await Deployments(connection).get(deployment_id)
        return record, await KeptLooks(connection).page(deployment_id, limit, after)


def _judged(looks: Sequence[KeptLook], by: DeployPolicy, live: DeployPolicy) -> list[JudgedLookOut]:
    return [judged_look_out(kept, judge_again(kept.look, by, live)) for kept in looks]


def _add_decisions(
    router: APIRouter,
    database: Database,
    environment: str,
    wake: Callable[[ModelKey], None],
    details: Details,
) -> None:
    @router.post("/deployments/{deployment_id}/{action}")
    async def act(
        deployment_id: DeploymentId, action: ActionName, request: OperatorRequestIn
    ) -> DeploymentDetailOut:
        """Approve, reject, pause, resume, promote, retry or abort; no gate is skipped by that.

        The answer is the deployment, and the new one where it is tried again. 409 says what is
        possible instead.
        """
        async with database.unit_of_work() as uow:
            record = await service.lock_deployment(uow, deployment_id)
            operator = OperatorRequest(request.by, request.reason)
            await ACTIONS[action](uow, record, operator)
            newest = await newest_attempt(uow, record)
            uow.after_commit.append(partial(wake, record.deployment.model_key))
        return await details(newest.deployment.id)

    @router.post("/models/{model}/undo")
    async def undo_promotion(model: ModelName, request: UndoIn) -> DeploymentDetailOut:
        """Back to the previous champion, or to the `version` that has been one, at once."""
        async with database.unit_of_work() as uow:
            operator = OperatorRequest(request.by, request.reason)
            undone = await undo(uow, environment, model, operator, request.version)
            uow.after_commit.append(partial(wake, undone.deployment.model_key))
        return await details(undone.deployment.id)


def _add_skips(
    router: APIRouter,
    database: Database,
    wake: Callable[[ModelKey], None],
    details: Details,
    skippable: Container[Gate],
) -> None:
    @router.post("/deployments/{deployment_id}/skip")
    async def skip_gate(deployment_id: DeploymentId, request: SkipIn) -> DeploymentDetailOut:
        """Past the approval, the canary or its present step, or the windows of its policy.

        The deployment's story says who did so. 403 where the platform does not permit it.
        """
        gate = Gate.CANARY if request.gate == "step" else Gate(request.gate)
        if gate not in skippable:
            raise RefusedError(
                f"the {gate} is not skipped here: name it in LOOPWRIGHT_DEPLOYER_SKIPPABLE_GATES"
            )
        async with database.unit_of_work() as uow:
            record = await service.lock_deployment(uow, deployment_id)
            await skip(uow, record, OperatorRequest(request.by, request.reason), request.gate)
            uow.after_commit.append(partial(wake, record.deployment.model_key))
        return await details(deployment_id)


def _add_routes(router: APIRouter, database: Database) -> None:
    @router.get("/routes")
    async def list_routes() -> RoutesOut:
        async with database.read() as connection:
            rows = await RouteRevisions(connection).all()
        return RoutesOut(items=[route_out(row) for row in rows])


def _details_of(database: Database, lease: timedelta, skippable: Container[Gate]) -> Details:
    async def details(deployment_id: str) -> DeploymentDetailOut:
        async with database.read() as connection:
            deployments = Deployments(connection)
            record = await deployments.get(deployment_id)
            history = await deployments.history(deployment_id)
            serving = await deployments.champion_version(*record.deployment.model_key)
            row = await RouteRevisions(connection).get(*record.deployment.model_key)
            owners = await describe_owners(connection, [record], lease)
        offered = offers(record.deployment, record.policy, serving, clock.now(), skippable)
        return deployment_detail_out(record, history, row, owners.get(deployment_id), offered)

    return details


async def _compared_with(deployments: Deployments, record: DeploymentRecord) -> int | None:
    """The version it is or was compared with."""
    mine = record.deployment
    if mine.previous is not None or mine.promoted_at is not None:
        return mine.previous
    return await deployments.champion_version(*mine.model_key)

"""What people may do to a deployment; what is impossible is a ConflictError that says why."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import AliasChanged
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import (
    BEFORE_CANARY,
    IN_FLIGHT,
    PAUSABLE,
    PROMOTABLE,
    DeploymentState,
    require_staged,
    require_state,
    transition,
)
from loopwright_deployer.deployments.emitted_events import emit_finished
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing import transitions

log = structlog.get_logger()
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """Who wants it and why."""

    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}" if self.reason else self.by


Action = Callable[[UnitOfWork, DeploymentRecord, OperatorRequest], Awaitable[object]]


async def approve(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, frozenset({DeploymentState.APPROVAL}), "approve")
    moved = transition(
        record.deployment, DeploymentState.VALIDATED, f"approved by {request}", clock.now()
    )
    await service.save_state(uow, record, replace(moved, approved=True), request.by)


async def reject(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, BEFORE_CANARY, "reject")
    if record.deployment.carries_traffic:
        raise ConflictError("it has traffic already: abort takes it out of the route")
    await service.reject(uow, record, f"rejected by {request}", request.by)


async def pause(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, PAUSABLE, "pause")
    await transitions.pause(uow, record, f"paused by {request}", request.by)


async def resume(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """Go on where it stood; a canary gets its whole time anew."""
    require_state(record.deployment, frozenset({DeploymentState.PAUSED}), "resume")
    canary = record.deployment.paused_from is DeploymentState.CANARY
    deadline = clock.now() + record.policy.canary.max_time if canary else None
    to = DeploymentState.CANARY if canary else DeploymentState.VALIDATED
    await service.advance(
        uow, record, to, f"resumed by {request}", by=request.by, deadline=deadline
    )


async def promote(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """Skip what is left of the gates and the canary, never staging."""
    require_state(record.deployment, PROMOTABLE, "promote")
    require_staged(record.deployment)
    await _require_no_other_traffic(uow, record)
    await transitions.promote(uow, record, f"promoted by {request}", request.by)


async def abort(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """End it now; a canary leaves the route at once."""
    require_state(record.deployment, IN_FLIGHT, "abort")
    had_traffic = record.deployment.carries_traffic
    moved = await service.advance(
        uow, record, DeploymentState.ABORTED, f"aborted by {request}", by=request.by
    )
    if had_traffic:
        await transitions.withdraw_traffic(uow, moved)
    await emit_finished(uow, moved, "aborted")


ACTIONS: Mapping[str, Action] = {
    "approve": approve,
    "reject": reject,
    "pause": pause,
    "resume": resume,
    "promote": promote,
    "abort": abort,
}


async def undo(
    uow: UnitOfWork, environment: str, model: str, request: OperatorRequest
) -> DeploymentRecord:
    """Back to the champion before this one, at once; whatever has a canary share is aborted.

    NotFoundError where nothing of that name was deployed, ConflictError without a former champion.
    """
    deployments = Deployments(uow.connection)
    model_id = (await deployments.of_model_named(environment, model))[0].deployment.model_id
    key = (environment, model_id)
    await service.lock_model(uow, *key)
    records = await deployments.of_model(*key)
    former = [r for r in await deployments.champions(*key) if _may_be_restored(r)]
    champion = next((r for r in records if r.deployment.champion), None)
    if champion is None or not former:
        raise ConflictError(f"{model} has no former champion to go back to")
    for record in records:
        if record.deployment.carries_traffic:
            await abort(uow, record, request)
    why = f"undone by {request}; back to version {former[0].deployment.version}"
    undone = await service.advance(uow, champion, DeploymentState.ROLLED_BACK, why, by=request.by)
    await deployments.set_champion(former[0].deployment)
    await transitions.withdraw_traffic(uow, undone)
    return await transitions.emit_rolled_back(uow, undone, former[0].deployment.version)


async def request_champion(uow: UnitOfWork, environment: str, alias: AliasChanged) -> None:
    """Somebody set the alias `champion`: promote that version under the platform's minimum.

    NotFoundError while the version has not been heard of, so that its event may still come.
    """
    request = OperatorRequest(alias.by, f"alias {CHAMPION} set to version {alias.version}")
    await service.lock_model(uow, environment, alias.model_id)
    records = await Deployments(uow.connection).of_model(environment, alias.model_id)
    mine = [r for r in records if r.deployment.version == alias.version]
    if not mine:
        raise NotFoundError(f"{alias.model} version {alias.version} was never registered here")
    record = mine[0]
    deployment = record.deployment
    if deployment.champion or deployment.state is DeploymentState.PROMOTING:
        return
    if deployment.state not in IN_FLIGHT:
        await _start_new_attempt(uow, record, request)
    elif deployment.staged:
        await promote(uow, record, request)
    else:
        await service.save_state(uow, record, replace(deployment, forced=str(request)), request.by)


async def _start_new_attempt(
    uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest
) -> None:
    """A new attempt of a version whose deployment has ended, straight to champion once staged."""
    old = record.deployment
    if old.state is DeploymentState.REJECTED and not old.staged:
        log.warning(
            "deployer.alias-refused", version=old.subject, request=str(request), why=old.why
        )
        return
    fresh = service.new_record(record.registered, old.environment, record.cause, old.attempt + 1)
    deployment = replace(
        fresh.deployment,
        forced=str(request),
        why=f"wanted by {request}",
        staged=old.staged,
        served=old.served,
        sandbox=old.sandbox,
    )
    again = replace(fresh, deployment=deployment, checks=record.checks, report=record.report)
    await Deployments(uow.connection).insert(again)
    await Deployments(uow.connection).append_history(deployment, request.by)
    if old.staged:
        await service.advance(uow, again, DeploymentState.VALIDATED, deployment.why, by=request.by)


async def _require_no_other_traffic(uow: UnitOfWork, record: DeploymentRecord) -> None:
    mine = record.deployment
    for other in await Deployments(uow.connection).of_model(mine.environment, mine.model_id):
        if other.deployment.id != mine.id and other.deployment.carries_traffic:
            raise ConflictError(
                f"version {other.deployment.version} is {other.deployment.state}; abort it first"
            )


def _may_be_restored(record: DeploymentRecord) -> bool:
    return record.deployment.state is DeploymentState.PROMOTED and not record.deployment.champion

"""What people do to a version on its way, and to the champion, whatever the gates say."""

from collections.abc import Sequence

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.errors import ConflictError
from loopwright_deployer.canary.frozen import is_frozen, without_canary_checks
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import (
    IN_FLIGHT,
    PAUSABLE,
    DeploymentState,
    require_state,
)
from loopwright_deployer.deployments.emitted_events import emit_finished
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions.attempts import void_requests
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing import route_revisions, withdrawals


async def pause(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, PAUSABLE, "pause")
    await withdrawals.pause(uow, record, f"paused by {request}", request.by)


async def resume(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """Go on where it stood; a canary gets its whole time anew, unclear staging is accepted.

    One that is frozen begins with nothing that was counted: it would be frozen again by that.
    """
    require_state(record.deployment, frozenset({DeploymentState.PAUSED}), "resume")
    if record.deployment.paused_from is DeploymentState.STAGING:
        moved = await service.accept_staging(uow, record, f"resumed by {request}", request.by)
        await route_revisions.publish_aliases(uow, *moved.deployment.model_key)
        return
    canary = record.deployment.paused_from is DeploymentState.CANARY
    deadline = clock.now() + record.policy.canary.max_time if canary else None
    to = DeploymentState.CANARY if canary else DeploymentState.VALIDATED
    why = f"resumed by {request}"
    if is_frozen(record):
        record, why = without_canary_checks(record), f"{why}; what was counted counts no longer"
    await service.advance(uow, record, to, why, by=request.by, deadline=deadline)


async def abort(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """End it now; a canary leaves the route at once."""
    require_state(record.deployment, IN_FLIGHT, "abort")
    had_traffic = record.deployment.carries_traffic
    moved = await service.advance(
        uow, record, DeploymentState.ABORTED, f"aborted by {request}", by=request.by
    )
    if had_traffic:
        await withdrawals.withdraw_traffic(uow, moved)
    await emit_finished(uow, moved, "aborted")
    await route_revisions.publish_aliases(uow, *moved.deployment.model_key)


async def undo(
    uow: UnitOfWork,
    environment: str,
    model: str,
    request: OperatorRequest,
    version: int | None = None,
) -> DeploymentRecord:
    """Back to the champion before this one, or to a `version` that has been one, at once.

    Whatever has a canary's share is aborted. NotFoundError where nothing of that name was deployed,
    ConflictError without such a former champion.
    """
    deployments = Deployments(uow.connection)
    key = (await deployments.of_model_named(environment, model))[0].deployment.model_key
    await service.lock_model(uow, *key)
    champions = await deployments.champions(*key)
    champion = await deployments.champion(*key)
    others = [r for r in champions if champion and _version(r) != _version(champion)]
    former = _restorable(others, version)
    if champion is None or former is None:
        raise ConflictError(_nothing_to_restore(model, version, others))
    for record in await deployments.of_model(*key):
        if record.deployment.carries_traffic:
            await abort(uow, record, request)
    why = f"undone by {request}; back to version {former.deployment.version}"
    await void_requests(uow, former.deployment, why)
    return await withdrawals.restore_champion(uow, champion, former, why, request.by)


def _restorable(others: Sequence[DeploymentRecord], version: int | None) -> DeploymentRecord | None:
    """The newest promotion to go back to; what was undone is gone back to only by its version."""
    wanted = (
        {DeploymentState.SUPERSEDED}
        if version is None
        else {DeploymentState.SUPERSEDED, DeploymentState.ROLLED_BACK}
    )
    ended = (r for r in others if r.deployment.state in wanted)
    return next((r for r in ended if version in (None, _version(r))), None)


def _nothing_to_restore(model: str, version: int | None, others: Sequence[DeploymentRecord]) -> str:
    been = sorted({_version(record) for record in others})
    listed = ", ".join(map(str, been))
    if version is None:
        undone = f"; what was undone comes back by its version: {listed}" if been else ""
        return f"{model} has no former champion to go back to{undone}"
    known = f"those are {listed}" if been else "there is none"
    return f"version {version} of {model} is no former champion; {known}"


def _version(record: DeploymentRecord) -> int:
    return record.deployment.version

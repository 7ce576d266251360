"""Past a gate: by what it asks for, or without."""

from dataclasses import replace
from typing import Literal

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.deploy_policy import ApprovalPolicy
from loopwright_common.errors import ConflictError
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import (
    BEFORE_CANARY,
    SKIPS_APPROVAL,
    SKIPS_CANARY,
    SKIPS_WINDOW,
    DeploymentState,
    require_state,
    transition,
)
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.deployments.windows import held_until
from loopwright_deployer.operator_actions.attempts import void_requests
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing import route_revisions, transitions

Skip = Literal["approval", "step", "canary", "window"]
"""A gate, or the present step of the canary's."""


async def approve(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, frozenset({DeploymentState.APPROVAL}), "approve")
    await _pass_gate(uow, record, Gate.APPROVAL, f"approved by {request}", request.by)


async def reject(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    require_state(record.deployment, BEFORE_CANARY, "reject")
    if record.deployment.carries_traffic:
        raise ConflictError("it has traffic already: abort takes it out of the route")
    await service.reject(uow, record, f"rejected by {request}", request.by)
    await route_revisions.publish_aliases(uow, *record.deployment.model_key)


async def skip(
    uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest, what: Skip
) -> None:
    """Let the version past a gate without what the gate asks for; the story says who did."""
    if record.deployment.paused_from is DeploymentState.STAGING:
        raise ConflictError("staging was inconclusive, which is not skipped: resume accepts it")
    if what == "approval":
        await _skip_approval(uow, record, f"approval skipped by {request}", request.by)
    elif what == "window":
        await _skip_window(uow, record, f"window skipped by {request}", request.by)
    elif what == "canary":
        require_state(record.deployment, SKIPS_CANARY, "skipping the canary")
        await _skip_canary(uow, record, f"canary skipped by {request}", request.by)
    else:
        require_state(record.deployment, frozenset({DeploymentState.CANARY}), "skipping a step")
        how = f"step skipped by {request}"
        last = record.deployment.step + 1 >= len(record.policy.canary.steps)
        advance = _skip_canary if last else transitions.advance_canary
        await advance(uow, record, how, request.by)


async def _skip_approval(uow: UnitOfWork, record: DeploymentRecord, how: str, by: str) -> None:
    require_state(record.deployment, SKIPS_APPROVAL, "skipping the approval")
    if not isinstance(record.policy.approval, ApprovalPolicy):
        raise ConflictError(f"{record.deployment.model}'s policy asks for no approval")
    if passed := record.deployment.gates.get(Gate.APPROVAL):
        raise ConflictError(f"the approval is not waited for: {passed}")
    await _pass_gate(uow, record, Gate.APPROVAL, how, by)


async def _skip_window(uow: UnitOfWork, record: DeploymentRecord, how: str, by: str) -> None:
    """All closed times of its policy, for this attempt; a canary gets its whole time anew."""
    now = clock.now()
    require_state(record.deployment, SKIPS_WINDOW, "skipping the window")
    if not held_until(record.deployment, record.policy, now):
        raise ConflictError(f"no window holds {record.deployment.model}'s versions now")
    passed = transitions.with_gate(record, Gate.WINDOW, how)
    if record.deployment.in_canary:
        deadline = now + record.policy.canary.max_time
        passed = replace(passed, deployment=replace(passed.deployment, deadline=deadline))
    await _note_gate(uow, passed, record, how, by)


async def _skip_canary(uow: UnitOfWork, record: DeploymentRecord, how: str, by: str) -> None:
    if record.deployment.in_canary:
        passed = transitions.with_gate(record, Gate.CANARY, how)
        await transitions.promote(uow, passed, how, by)
    else:
        await _pass_gate(uow, record, Gate.CANARY, how, by)
    await void_requests(uow, record.deployment, how)


async def _pass_gate(
    uow: UnitOfWork, record: DeploymentRecord, gate: Gate, how: str, by: str
) -> None:
    """Past a gate; the gates after it are asked for next."""
    passed = transitions.with_gate(record, gate, how)
    if record.deployment.state is DeploymentState.VALIDATED:
        await _note_gate(uow, passed, record, how, by)
    else:
        moved = transition(passed.deployment, DeploymentState.VALIDATED, how, clock.now())
        await service.save_state(uow, record, moved, by)


async def _note_gate(
    uow: UnitOfWork, passed: DeploymentRecord, record: DeploymentRecord, how: str, by: str
) -> None:
    """Past a gate in the state that it is in, where it is looked at again."""
    noted = replace(passed.deployment, why=how, waits=None, retry_at=None, state_since=clock.now())
    await service.save_state(uow, record, noted, by)

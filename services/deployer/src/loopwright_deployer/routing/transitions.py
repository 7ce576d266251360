"""Use cases that bring a version to its model's traffic: gates, canary, promotion.

Each raises ConflictError where the deployment's state machine has no such step, or somebody else
was quicker.
"""

from dataclasses import replace

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.deploy_policy import ApprovalPolicy
from loopwright_common.events import (
    ApprovalRequested,
    DeploymentPromoted,
)
from loopwright_deployer.canary.decisions import all_traffic, split_traffic
from loopwright_deployer.deployments.domain import (
    Deployment,
    DeploymentState,
    transition,
    what_ends_the_wait,
)
from loopwright_deployer.deployments.emitted_events import emit_event, emit_finished, event_fields
from loopwright_deployer.deployments.gates import Gate, next_gate, require_passed
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.service import advance, reject, save_state
from loopwright_deployer.deployments.windows import (
    held_until,
    require_open,
    wait_sentence,
    was_held,
)
from loopwright_deployer.routing.late_labels import canary_periods
from loopwright_deployer.routing.route_revisions import publish_route, served_package
from loopwright_deployer.routing.routes import RouteRevisions
from loopwright_deployer.routing.withdrawals import champion_of, pause, version_of

_FIRST = "the first version goes live after staging"


async def enter_next_gate(uow: UnitOfWork, record: DeploymentRecord) -> bool:
    """The next gate after staging, or champion where none is left; False while it waits.

    It waits for what has a share of the traffic, and while its policy's windows are closed.
    Verdicts and approvals hold beside the champion that they were made with: beside another one the
    version is staged again.
    """
    deployment, approval = record.deployment, record.policy.approval
    others = await Deployments(uow.connection).of_model(*deployment.model_key)
    busy = next((r.deployment for r in others if _in_the_way(r.deployment, deployment)), None)
    if busy is not None:
        await Deployments(uow.connection).set_waiting_reason(deployment, what_ends_the_wait(busy))
        return False
    champion = next((r for r in others if r.deployment.champion), None)
    gate = next_gate(deployment, record.policy, version_of(champion))
    until = held_until(deployment, record.policy, clock.now())
    if until is not None and gate in (Gate.CANARY, None):
        await Deployments(uow.connection).hold(deployment, until, wait_sentence(until))
        return False
    if gate is Gate.STAGING:
        await _stage_again(uow, record, champion)
    elif gate is Gate.APPROVAL and isinstance(approval, ApprovalPolicy):
        await _request_approval(uow, record, approval)
    elif gate is Gate.CANARY and champion is not None:
        await _start_canary(uow, record, champion)
    else:
        await promote(uow, record, deployment.gates.get(Gate.CANARY, _FIRST))
    return True


async def expire_approval(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """Nobody decided in time: what the policy says happens."""
    policy = record.policy.approval
    why = "nobody approved in time"
    if isinstance(policy, ApprovalPolicy) and policy.then == "reject":
        await reject(uow, record, why)
    else:
        await pause(uow, record, why)


async def advance_canary(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> None:
    """More traffic for the canary; its evidence goes on."""
    deployment, now = record.deployment, clock.now()
    require_open(deployment, record.policy, now)
    step = deployment.step + 1
    weight = record.policy.canary.steps[step].weight
    changed = replace(
        deployment,
        step=step,
        why=f"{why}; now {weight:.0%}",
        waits=None,
        state_since=now,
        # A closed window is no time in which evidence could have come.
        deadline=now + record.policy.canary.max_time
        if was_held(deployment)
        else deployment.deadline,
    )
    await begin_step(uow, await save_state(uow, record, changed, by))


async def begin_step(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """The share of the canary's step, under a revision whose calls are evidence of that step.

    A step may begin anew: before its next revision more is known of the champion.
    """
    deployment = record.deployment
    champion = await champion_of(uow, deployment)
    require_passed(deployment, record.policy, version_of(champion), but=Gate.CANARY)
    assert champion is not None  # noqa: S101  (a canary starts only beside a champion)
    served = served_package(champion), served_package(record)
    weight = record.policy.canary.steps[deployment.step].weight
    route = await publish_route(uow, record, split_traffic(*served, weight))
    await RouteRevisions(uow.connection).remember_step(
        deployment.id, route.revision, deployment.step
    )


async def pass_canary(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    """The canary's evidence is enough: all traffic to the version."""
    await promote(uow, with_gate(record, Gate.CANARY, why), why)


def with_gate(record: DeploymentRecord, gate: Gate, how: str) -> DeploymentRecord:
    """The record with a gate passed, and how."""
    gates = {**record.deployment.gates, gate: how}
    return replace(record, deployment=replace(record.deployment, gates=gates))


async def promote(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """All traffic to the version; it is champion once every live replica has acknowledged.

    The only way there: ConflictError while there is a gate that it has not passed, or its policy's
    windows are closed.
    """
    champion = await champion_of(uow, record.deployment)
    require_passed(record.deployment, record.policy, version_of(champion))
    require_open(record.deployment, record.policy, clock.now())
    moved = transition(record.deployment, DeploymentState.PROMOTING, why, clock.now())
    promoting = await save_state(uow, record, replace(moved, previous=version_of(champion)), by)
    await publish_route(uow, promoting, all_traffic(served_package(record)))
    return promoting


async def complete_promotion(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """Every live replica serves it: the version is champion, and the one before superseded."""
    deployment = record.deployment
    champion = await champion_of(uow, deployment)
    if champion is not None:
        why = f"version {deployment.version} is champion"
        await advance(uow, champion, DeploymentState.SUPERSEDED, why)
    now, labels = clock.now(), record.policy.labels
    canary = await canary_periods(uow, deployment) if labels and deployment.previous else []
    moved = transition(deployment, DeploymentState.PROMOTED, deployment.why, now)
    promoted = await save_state(uow, record, replace(moved, promoted_at=now))
    followed = await emit_event(
        uow,
        promoted,
        DeploymentPromoted(
            **event_fields(deployment),
            previous=deployment.previous,
            checks=list(record.checks),
            why=deployment.why,
            canary=canary,
            labels_until=now + labels.window if labels and canary else None,
        ),
    )
    await emit_finished(uow, followed, "promoted")


async def _stage_again(
    uow: UnitOfWork, record: DeploymentRecord, champion: DeploymentRecord | None
) -> None:
    """Whatever was found of the version, or decided by that, was beside another champion."""
    why = _why_again(record.deployment, champion)
    moved = transition(record.deployment, DeploymentState.STAGING, why, clock.now())
    await save_state(uow, record, replace(moved, gates={}))


async def _request_approval(
    uow: UnitOfWork, record: DeploymentRecord, policy: ApprovalPolicy
) -> None:
    until = clock.now() + policy.within
    why = f"waits for approval by {' or '.join(policy.roles)}"
    awaiting = await advance(uow, record, DeploymentState.APPROVAL, why, deadline=until)
    event = ApprovalRequested(
        **event_fields(awaiting.deployment),
        roles=policy.roles,
        until=until,
        checks=list(record.checks),
    )
    await emit_event(uow, awaiting, event)


async def _start_canary(
    uow: UnitOfWork, record: DeploymentRecord, champion: DeploymentRecord
) -> None:
    require_open(record.deployment, record.policy, clock.now())
    canary = record.policy.canary
    weight = canary.steps[0].weight
    deadline = clock.now() + canary.max_time
    why = f"{weight:.0%} of the traffic beside version {champion.deployment.version}"
    moved = transition(record.deployment, DeploymentState.CANARY, why, clock.now())
    started = replace(moved, deadline=deadline, step=0)
    await begin_step(uow, await save_state(uow, record, started))


def _why_again(deployment: Deployment, champion: DeploymentRecord | None) -> str:
    before, now = deployment.staged_against, version_of(champion)
    is_now = f"version {now} is champion by now" if now else "there is no champion any more"
    was = f"version {before} was champion" if before else "there was no champion"
    return f"{is_now}, {was} when it was staged: its verdicts are made anew"


def _in_the_way(other: Deployment, mine: Deployment) -> bool:
    return other.id != mine.id and other.carries_traffic

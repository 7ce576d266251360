"""Use cases that change what a model's traffic meets: gates, canary, promotion, roll back.

Each raises ConflictError where the deployment's state machine has no such step, or somebody else
was quicker.
"""

from collections.abc import Sequence
from dataclasses import replace

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.deploy_policy import ApprovalPolicy
from loopwright_common.events import (
    ApprovalRequested,
    Check,
    DeploymentPromoted,
    DeploymentRolledBack,
)
from loopwright_deployer.canary.decisions import all_traffic, split_traffic
from loopwright_deployer.deployments.domain import Deployment, DeploymentState, transition
from loopwright_deployer.deployments.emitted_events import emit_event, emit_finished, event_fields
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.service import advance, reject, save_state
from loopwright_deployer.routing.route_revisions import publish_route, served_package
from loopwright_deployer.routing.routes import RouteRevisions


async def enter_next_gate(uow: UnitOfWork, record: DeploymentRecord) -> bool:
    """The next gate after staging: approval, the canary, or champion; False while it waits.

    Verdicts hold beside the champion that they were made with: beside another one the version is
    staged again.
    """
    deployment, approval = record.deployment, record.policy.approval
    if isinstance(approval, ApprovalPolicy) and not (deployment.approved or deployment.forced):
        await _request_approval(uow, record, approval)
        return True
    others = await Deployments(uow.connection).of_model(deployment.environment, deployment.model_id)
    busy = next((r.deployment for r in others if _in_the_way(r.deployment, deployment)), None)
    if busy is not None:
        await Deployments(uow.connection).set_waiting_reason(deployment, _what_ends_the_wait(busy))
        return False
    champion = next((r for r in others if r.deployment.champion), None)
    if champion is None:
        await promote(uow, record, "the first version goes live after staging")
    elif deployment.forced:
        await promote(uow, record, deployment.forced)
    elif champion.deployment.version != deployment.staged_against:
        await advance(uow, record, DeploymentState.STAGING, _why_again(deployment, champion))
    else:
        await _start_canary(uow, record, champion)
    return True


async def expire_approval(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """Nobody decided in time: what the policy says happens."""
    policy = record.policy.approval
    why = "nobody approved in time"
    if isinstance(policy, ApprovalPolicy) and policy.then == "reject":
        await reject(uow, record, why)
    else:
        await pause(uow, record, why)


async def advance_canary(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    """More traffic for the canary; its evidence goes on."""
    deployment = record.deployment
    step = deployment.step + 1
    weight = record.policy.canary.steps[step].weight
    changed = replace(
        deployment,
        step=step,
        why=f"{why}; now {weight:.0%}",
        waits=None,
        state_since=clock.now(),
    )
    await begin_step(uow, await save_state(uow, record, changed))


async def begin_step(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """The share of the canary's step, under a revision whose calls are evidence of that step.

    A step may begin anew: before its next revision more is known of the champion.
    """
    deployment = record.deployment
    served = served_package(await _champion(uow, deployment)), served_package(record)
    weight = record.policy.canary.steps[deployment.step].weight
    route = await publish_route(uow, record, split_traffic(*served, weight))
    await RouteRevisions(uow.connection).remember_step(
        deployment.id, route.revision, deployment.step
    )


async def promote(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """All traffic to the version; it is champion once every live replica has acknowledged."""
    champion = await Deployments(uow.connection).champion(
        record.deployment.environment, record.deployment.model_id
    )
    moved = transition(record.deployment, DeploymentState.PROMOTING, why, clock.now())
    previous = champion.deployment.version if champion else None
    promoting = await save_state(uow, record, replace(moved, previous=previous), by)
    await publish_route(uow, promoting, all_traffic(served_package(record)))
    return promoting


async def complete_promotion(uow: UnitOfWork, record: DeploymentRecord) -> None:
    """Every live replica serves it: the version is champion."""
    deployments = Deployments(uow.connection)
    deployment = record.deployment
    champion = await deployments.champion(deployment.environment, deployment.model_id)
    if champion is not None:
        await deployments.remove_champion(champion.deployment)
    now = clock.now()
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
        ),
    )
    await emit_finished(uow, followed, "promoted")


async def roll_back(
    uow: UnitOfWork, record: DeploymentRecord, why: str, checks: Sequence[Check] = ()
) -> None:
    """Out of traffic at once; the champion serves everything again."""
    moved = await advance(uow, record, DeploymentState.ROLLED_BACK, why)
    previous = await withdraw_traffic(uow, moved)
    followed = await emit_rolled_back(uow, moved, previous, checks)
    await emit_finished(uow, followed, "rolled-back")


async def withdraw_traffic(uow: UnitOfWork, record: DeploymentRecord) -> int | None:
    """Route everything to the champion, or nothing where there is none; returns its version."""
    deployment = record.deployment
    champion = await Deployments(uow.connection).champion(
        deployment.environment, deployment.model_id
    )
    await publish_route(uow, record, all_traffic(served_package(champion)) if champion else ())
    return champion.deployment.version if champion else None


async def emit_rolled_back(
    uow: UnitOfWork, record: DeploymentRecord, previous: int | None, checks: Sequence[Check] = ()
) -> DeploymentRecord:
    deployment = record.deployment
    event = DeploymentRolledBack(
        **event_fields(deployment), previous=previous, checks=list(checks), why=deployment.why
    )
    return await emit_event(uow, record, event)


async def pause(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """Stay as it is until a person decides; a canary keeps its present share."""
    return await advance(uow, record, DeploymentState.PAUSED, why, by=by)


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
    canary = record.policy.canary
    weight = canary.steps[0].weight
    deadline = clock.now() + canary.max_time
    why = f"{weight:.0%} of the traffic beside version {champion.deployment.version}"
    await begin_step(
        uow, await advance(uow, record, DeploymentState.CANARY, why, deadline=deadline)
    )


async def _champion(uow: UnitOfWork, deployment: Deployment) -> DeploymentRecord:
    champion = await Deployments(uow.connection).champion(
        deployment.environment, deployment.model_id
    )
    assert champion is not None  # noqa: S101  (a canary starts only beside a champion)
    return champion


def _why_again(deployment: Deployment, champion: DeploymentRecord) -> str:
    before = deployment.staged_against
    beside = f"version {before} was champion" if before else "there was no champion"
    return (
        f"version {champion.deployment.version} is champion by now, {beside} when it was staged: "
        "its verdicts are made anew"
    )


def _in_the_way(other: Deployment, mine: Deployment) -> bool:
    return other.id != mine.id and other.carries_traffic


def _what_ends_the_wait(busy: Deployment) -> str:
    """What ends the wait for a version that has a share of the traffic."""
    if busy.state is DeploymentState.PAUSED:
        return f"waits until a person resumes, promotes or aborts the paused version {busy.version}"
    return f"waits for version {busy.version}, which is {busy.state}"

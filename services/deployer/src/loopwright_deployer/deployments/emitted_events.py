"""Events about a deployment: each follows from the one before, and what comes next from it."""

from dataclasses import replace
from typing import Literal

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.deploy_policy import ApprovalPolicy
from loopwright_common.events import DeploymentChanged, DeploymentFinished, EventData
from loopwright_deployer.deployments.domain import AWAITS_PERSON, Deployment, DeploymentState
from loopwright_deployer.deployments.offers import offers
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments

Outcome = Literal["promoted", "rejected", "rolled-back", "superseded", "aborted"]


async def emit_event(
    uow: UnitOfWork, record: DeploymentRecord, data: EventData
) -> DeploymentRecord:
    """Emit a fact about the deployment; what comes later follows from it."""
    deployment = record.deployment
    uow.follow(record.cause, "deployer")
    event = await uow.emit(
        data,
        key=deployment.key,
        subject=deployment.subject,
        identity=_identity(deployment),
    )
    followed = replace(record, cause=Cause.of(event))
    await Deployments(uow.connection).set_cause(deployment.id, followed.cause)
    return followed


async def emit_changed(uow: UnitOfWork, record: DeploymentRecord, by: str | None) -> None:
    """Emit the state that the deployment came into; what comes later does not follow from that."""
    deployment = record.deployment
    uow.follow(record.cause, "deployer")
    changed = DeploymentChanged(
        **event_fields(deployment),
        attempt=deployment.attempt,
        state=deployment.state,
        why=deployment.why,
        by=by,
        weight=record.weight,
        decisions=await _asked_of_person(uow, record),
        until=deployment.deadline,
        then=_what_follows(record) if deployment.deadline else None,
    )
    await uow.emit(
        changed, key=deployment.key, subject=deployment.subject, identity=_identity(deployment)
    )


async def _asked_of_person(uow: UnitOfWork, record: DeploymentRecord) -> list[str]:
    """The verbs that are possible while the deployment waits for a person."""
    if record.deployment.state not in AWAITS_PERSON:
        return []
    deployments = Deployments(uow.connection)
    serving = await deployments.champion_version(*record.deployment.model_key)
    return [o.verb for o in offers(record.deployment, record.policy, serving, clock.now())]


async def emit_finished(
    uow: UnitOfWork, record: DeploymentRecord, outcome: Outcome
) -> DeploymentRecord:
    """Emit how the deployment ended."""
    finished = DeploymentFinished(
        **event_fields(record.deployment),
        outcome=outcome,
        why=record.deployment.why,
        pipeline=record.registered.pipeline,
    )
    return await emit_event(uow, record, finished)


def event_fields(deployment: Deployment) -> dict[str, object]:
    """What every event about a deployment names."""
    return {
        "deployment_id": deployment.id,
        "environment": deployment.environment,
        "model_id": deployment.model_id,
        "model": deployment.model,
        "version": deployment.version,
    }


def _what_follows(record: DeploymentRecord) -> str | None:
    """What happens at the deadline of the present state."""
    approval = record.policy.approval
    if record.deployment.state is DeploymentState.CANARY:
        return "pause"
    return approval.then if isinstance(approval, ApprovalPolicy) else None


def _identity(deployment: Deployment) -> str:
    return f"deployment/{deployment.id}/{clock.to_text(deployment.state_since)}"

"""Use cases that take a version's share of the traffic away, or leave it as it is.

Each raises ConflictError where the deployment's state machine has no such step, or somebody else
was quicker.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.events import Check, DeploymentRolledBack
from loopwright_deployer.canary.decisions import all_traffic
from loopwright_deployer.deployments.domain import Deployment, DeploymentState, transition
from loopwright_deployer.deployments.emitted_events import emit_event, emit_finished, event_fields
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.service import advance, save_state
from loopwright_deployer.routing.route_revisions import publish_route, served_package
from loopwright_deployer.routing.routes import RouteRevisions

_SERVES_ALL = "the champion serves all until a person decides"
FROZEN = f"frozen: {_SERVES_ALL}, and a resumed canary begins anew"


async def roll_back(
    uow: UnitOfWork, record: DeploymentRecord, why: str, checks: Sequence[Check] = ()
) -> None:
    """Out of traffic at once; the champion serves everything again."""
    moved = await advance(uow, record, DeploymentState.ROLLED_BACK, why)
    previous = await withdraw_traffic(uow, moved)
    followed = await _emit_rolled_back(uow, moved, previous, checks)
    await emit_finished(uow, followed, "rolled-back")


async def pause(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """Stay as it is until a person decides; a canary keeps its present share."""
    return await advance(uow, record, DeploymentState.PAUSED, why, by=by)


async def pause_inconclusive(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    """The canary's time is over without enough evidence: a person decides.

    Its share goes back to the champion meanwhile, unless its policy says that it stays.
    """
    if record.policy.canary.then == "stay":
        await pause(uow, record, f"{why}; it keeps its share until a person decides")
        return
    await _pause_without_traffic(uow, record, f"{why}; {_SERVES_ALL}")


async def freeze(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    """The canary is known to be worse, and a person decides: no traffic, but it stays loaded.

    What was counted is no evidence any more: a canary that is resumed would only fail by it again.
    """
    await RouteRevisions(uow.connection).forget_steps(record.deployment.id)
    await _pause_without_traffic(uow, record, f"{why}; {FROZEN}")


async def _pause_without_traffic(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    moved = transition(record.deployment, DeploymentState.PAUSED, why, clock.now())
    withdrawn = replace(moved, paused_from=DeploymentState.VALIDATED, step=0)
    await withdraw_traffic(uow, await save_state(uow, record, withdrawn))


async def restore_champion(
    uow: UnitOfWork,
    champion: DeploymentRecord,
    former: DeploymentRecord,
    why: str,
    by: str | None = None,
    checks: Sequence[Check] = (),
) -> DeploymentRecord:
    """All traffic back to a version that has been champion, and so has passed its gates, at once.

    The champion, which is returned, ends as rolled back; where it came before the other one it is
    superseded by it.
    """
    later = _promoted_at(former) > _promoted_at(champion)
    to = DeploymentState.SUPERSEDED if later else DeploymentState.ROLLED_BACK
    undone = await advance(uow, champion, to, why, by=by)
    await advance(uow, former, DeploymentState.PROMOTED, why, by=by)
    previous = await withdraw_traffic(uow, undone)
    return await _emit_rolled_back(uow, undone, previous, checks)


async def withdraw_traffic(uow: UnitOfWork, record: DeploymentRecord) -> int | None:
    """Route everything to the champion, or nothing where there is none; returns its version."""
    champion = await champion_of(uow, record.deployment)
    await publish_route(uow, record, all_traffic(served_package(champion)) if champion else ())
    return version_of(champion)


async def champion_of(uow: UnitOfWork, deployment: Deployment) -> DeploymentRecord | None:
    """What serves the deployment's model now."""
    return await Deployments(uow.connection).champion(*deployment.model_key)


def version_of(record: DeploymentRecord | None) -> int | None:
    """The number of a version, where there is one."""
    return record.deployment.version if record else None


async def _emit_rolled_back(
    uow: UnitOfWork, record: DeploymentRecord, previous: int | None, checks: Sequence[Check] = ()
) -> DeploymentRecord:
    deployment = record.deployment
    event = DeploymentRolledBack(
        **event_fields(deployment), previous=previous, checks=list(checks), why=deployment.why
    )
    return await emit_event(uow, record, event)


def _promoted_at(record: DeploymentRecord) -> datetime:
    return record.deployment.promoted_at or record.deployment.created_at

"""What the deployer does on hearing of versions, aliases and the canary's counters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.delivery import BoundBy
from loopwright_common.events import (
    AliasChanged,
    CanaryLabelled,
    Event,
    ModelRegistered,
    PromotionRequested,
    ServingMeasured,
    VersionDeleted,
)
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.aliases import ModelAliases
from loopwright_deployer.deployments.domain import ModelKey
from loopwright_deployer.operator_actions.attempts import CHAMPION, request_champion
from loopwright_deployer.routing import late_labels, route_revisions

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeployerContext:
    """`wake` is called after each commit that may mean work for the controller.

    `count` where it brought new counters.
    """

    environment: str
    wake: Callable[[ModelKey], None]
    count: Callable[[ModelKey], None]

    def wake_after(self, uow: UnitOfWork, model_id: str) -> None:
        """Wake the controller for a model once the transaction is committed."""
        uow.after_commit.append(partial(self.wake, (self.environment, model_id)))


async def on_model_registered(
    event: Event[ModelRegistered], uow: UnitOfWork, context: DeployerContext
) -> None:
    await service.start_deployment(uow, event.data, context.environment, Cause.of(event))
    await route_revisions.publish_aliases(uow, context.environment, event.data.model_id)
    context.wake_after(uow, event.data.model_id)


async def on_alias_changed(
    event: Event[AliasChanged], uow: UnitOfWork, context: DeployerContext
) -> None:
    """An alias is a name in the route; `champion`, which follows what serves, is one anyway."""
    alias = event.data
    if alias.alias == CHAMPION:
        return
    await service.lock_model(uow, context.environment, alias.model_id)
    aliases = ModelAliases(uow.connection, context.environment, alias.model_id)
    await aliases.set_version(alias.alias, alias.version)
    await route_revisions.publish_aliases(uow, context.environment, alias.model_id)


async def on_promotion_requested(
    event: Event[PromotionRequested], uow: UnitOfWork, context: DeployerContext
) -> None:
    """NotFoundError while the version has not been heard of: the event waits for another try."""
    await request_champion(uow, context.environment, event.data, Cause.of(event))
    context.wake_after(uow, event.data.model_id)


async def on_serving_measured(
    event: Event[ServingMeasured], uow: UnitOfWork, context: DeployerContext
) -> None:
    if event.data.environment != context.environment:
        return
    uow.defer(_merge_all, (event.data, context))


async def _merge_all(
    uow: UnitOfWork, measured: Sequence[tuple[ServingMeasured, DeployerContext]]
) -> None:
    """Reports that share a transaction are merged together."""
    changed = await CanaryCounters(uow.connection).merge_all([report for report, _ in measured])
    context = measured[0][1]
    uow.after_commit.extend(partial(context.count, model) for model in changed)


async def on_canary_labelled(
    event: Event[CanaryLabelled], uow: UnitOfWork, context: DeployerContext
) -> None:
    """UnavailableError while another version is promoting: the event waits for another try."""
    if event.data.environment != context.environment:
        return
    await late_labels.judge(uow, event)
    context.wake_after(uow, event.data.model_id)


async def on_version_deleted(
    event: Event[VersionDeleted], _uow: UnitOfWork, _context: DeployerContext
) -> None:
    """The registry refuses to delete what is routed; nothing is left to do."""
    log.info("deployer.version-deleted", subject=event.subject, by=event.data.by)


LIFECYCLE_HANDLERS: BoundBy[DeployerContext] = {
    ModelRegistered: on_model_registered,
    AliasChanged: on_alias_changed,
    PromotionRequested: on_promotion_requested,
    VersionDeleted: on_version_deleted,
    CanaryLabelled: on_canary_labelled,
}
COUNTER_HANDLERS: BoundBy[DeployerContext] = {ServingMeasured: on_serving_measured}
"""A consumer of their own, so that counters never wait for versions."""

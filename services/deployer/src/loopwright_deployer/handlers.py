"""What the deployer does on hearing of versions, aliases and the canary's counters."""

from collections.abc import Callable

import structlog

from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.delivery.inbox import Handlers
from loopwright_common.events import (
    AliasChanged,
    Event,
    ModelRegistered,
    ServingMeasured,
    VersionDeleted,
)
from loopwright_deployer import operator_actions
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.aliases import ModelAliases
from loopwright_deployer.routing import route_revisions

log = structlog.get_logger()
OWN_NAME = "deployer"


class Lifecycle:
    """Handlers for one environment; `wake` is called after each commit that may mean work."""

    def __init__(self, environment: str, wake: Callable[[], None]) -> None:
        self._environment = environment
        self._wake = wake

    def handlers(self) -> Handlers:
        return {
            ModelRegistered: self.on_model_registered,
            AliasChanged: self.on_alias_changed,
            VersionDeleted: on_version_deleted,
        }

    def measured(self) -> Handlers:
        return {ServingMeasured: self.on_serving_measured}

    async def on_model_registered(self, event: Event[ModelRegistered], uow: UnitOfWork) -> None:
        await service.start_deployment(uow, event.data, self._environment, Cause.of(event))
        uow.after_commit.append(self._wake)

    async def on_alias_changed(self, event: Event[AliasChanged], uow: UnitOfWork) -> None:
        told = event.data
        if told.alias != operator_actions.CHAMPION:
            await self._name(uow, told)
        elif told.version is not None and told.by != OWN_NAME:
            await operator_actions.request_champion(uow, self._environment, told)
            uow.after_commit.append(self._wake)

    async def _name(self, uow: UnitOfWork, told: AliasChanged) -> None:
        place = (self._environment, told.model_id)
        await service.lock_model(uow, *place)
        await ModelAliases(uow.connection, *place).set_version(told.alias, told.version)
        await route_revisions.publish_aliases(uow, *place)

    async def on_serving_measured(self, event: Event[ServingMeasured], uow: UnitOfWork) -> None:
        if event.data.environment != self._environment:
            return
        await CanaryCounters(uow.connection).merge(event.data)
        uow.after_commit.append(self._wake)


async def on_version_deleted(event: Event[VersionDeleted], _uow: UnitOfWork) -> None:
    """The registry refuses to delete what is routed; nothing is left to do."""
    log.info("deployer.version-deleted", subject=event.subject, by=event.data.by)

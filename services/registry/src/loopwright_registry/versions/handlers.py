"""What the registry does on the deployer's word: it moves `champion` and knows the routes."""

from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import BoundBy
from loopwright_common.events import (
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    RoutesChanged,
)
from loopwright_registry.models.domain import LoadedVersions, ServingUse
from loopwright_registry.versions import service


async def on_deployment_promoted(
    event: Event[DeploymentPromoted], uow: UnitOfWork, environment: str
) -> None:
    data = event.data
    if data.environment == environment:
        await service.decide_champion(uow, data.model_id, data.version, event.time)


async def on_deployment_rolled_back(
    event: Event[DeploymentRolledBack], uow: UnitOfWork, environment: str
) -> None:
    """The version before serves again; where there was none, the model has no champion."""
    data = event.data
    if data.environment == environment:
        await service.decide_champion(uow, data.model_id, data.previous, event.time)


async def on_routes_changed(
    event: Event[RoutesChanged], uow: UnitOfWork, _environment: str
) -> None:
    data = event.data
    kept: dict[int, ServingUse] = {arm.version: "kept" for arm in data.kept}
    versions = {**kept, **{arm.version: arm.role for arm in data.arms}}
    loaded = LoadedVersions(data.environment, data.revision, versions)
    await service.store_loaded_versions(uow, data.model_id, loaded)


HANDLERS: BoundBy[str] = {
    DeploymentPromoted: on_deployment_promoted,
    DeploymentRolledBack: on_deployment_rolled_back,
    RoutesChanged: on_routes_changed,
}
"""Bound to an environment: only what happens in it moves the alias; all routes are known."""

"""What the registry does on the deployer's word: it moves `champion` and knows the routes."""

from functools import partial

from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import Handlers
from loopwright_common.events import (
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    RoutesChanged,
)
from loopwright_registry.models.domain import Route, Use
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
    data = event.data
    if data.environment == environment:
        await service.decide_champion(uow, data.model_id, data.previous, event.time)


async def on_routes_changed(event: Event[RoutesChanged], uow: UnitOfWork) -> None:
    data = event.data
    kept: dict[int, Use] = {arm.version: "kept" for arm in data.kept}
    versions = {**kept, **{arm.version: arm.role for arm in data.arms}}
    route = Route(data.environment, data.revision, versions)
    await service.put_route(uow, data.model_id, route)


def handlers(environment: str) -> Handlers:
    """Only what happens in this environment moves the alias; routes of all of them are known."""
    return {
        DeploymentPromoted: partial(on_deployment_promoted, environment=environment),
        DeploymentRolledBack: partial(on_deployment_rolled_back, environment=environment),
        RoutesChanged: on_routes_changed,
    }
